// What a User-Agent header says in two words. It is the client's own claim and
// only helps an owner to recognise a device. Pure.

export type System = "windows" | "macos" | "ios" | "android" | "linux";

const systems: [RegExp, System, string][] = [
  [/iPhone|iPod/, "ios", "iPhone"],
  [/iPad/, "ios", "iPad"],
  [/Android/, "android", "Android"],
  [/Windows/, "windows", "Windows"],
  [/Macintosh|Mac OS X/, "macos", "macOS"],
  [/CrOS/, "linux", "ChromeOS"],
  [/Linux|X11/, "linux", "Linux"],
];

// Each browser claims to be those below it.
const programs: [RegExp, string][] = [
  [/\bEdgA?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\b(Firefox|FxiOS)\//, "Firefox"],
  [/\b(Chrome|Chromium|CriOS)\//, "Chrome"],
  [/\bVersion\/.*\bSafari\//, "Safari"],
];

/** "Firefox, Windows"; the first word of what is no browser ("curl/8.5"); "" for nothing. */
export function agentName(agent: string): string {
  const system = systems.find(([pattern]) => pattern.test(agent))?.[2];
  const program = programs.find(([pattern]) => pattern.test(agent))?.[1];
  if (!program && !system) return agent.trim().split(/\s/)[0]?.slice(0, 40) ?? "";
  return [program, system].filter(Boolean).join(", ");
}

/** The system that a browser runs on, as it says. */
export const systemOf = (agent: string): System | undefined => systems.find(([pattern]) => pattern.test(agent))?.[1];
