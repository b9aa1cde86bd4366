// The reader's own choices: language and colours. They follow the browser
// until the reader chooses otherwise, and are remembered in this browser only.

import { formatFor } from "./format";
import { messages, preferred, type Lang } from "./i18n";

type Theme = "light" | "dark";

// Reading and writing may be forbidden; the choice then lasts until the page closes.
function remembered(key: string): string | null {
  try {
    return localStorage.getItem("arasul." + key);
  } catch {
    return null;
  }
}

function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem("arasul." + key);
    else localStorage.setItem("arasul." + key, value);
  } catch {
    // see remembered
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const systemTheme = (): Theme => (dark.matches ? "dark" : "light");

function firstLang(): Lang {
  const chosen = remembered("lang");
  return chosen === "de" || chosen === "en" ? chosen : preferred(navigator.languages);
}

function firstTheme(): Theme {
  const chosen = remembered("theme");
  return chosen === "light" || chosen === "dark" ? chosen : systemTheme();
}

class Settings {
  lang = $state<Lang>(firstLang());
  theme = $state<Theme>(firstTheme());

  readonly t = $derived(messages[this.lang]);
  // The browser's own variant (en-GB, de-AT) of the language in use, if it has one.
  readonly f = $derived(formatFor(navigator.languages.find((tag) => tag.toLowerCase().startsWith(this.lang)) ?? this.lang));

  constructor() {
    dark.addEventListener("change", () => {
      if (remembered("theme") === null) this.theme = systemTheme();
      this.#apply();
    });
    this.#apply();
  }

  speak(lang: Lang): void {
    this.lang = lang;
    remember("lang", lang);
    this.#apply();
  }

  /** Switches between dark and light. Back at the system's own, it follows the system again. */
  switchTheme(): void {
    this.theme = this.theme === "dark" ? "light" : "dark";
    remember("theme", this.theme === systemTheme() ? null : this.theme);
    this.#apply();
  }

  // Not in an effect: what reads the colours back must find them in place.
  #apply(): void {
    document.documentElement.lang = this.lang;
    document.documentElement.dataset["theme"] = this.theme;
  }
}

export const settings = new Settings();
