// Which view the address bar names. The dashboard answers every unknown path
// with the page, so a view is a plain path that can be linked to.

import { safeNext } from "./next";

const views = ["/", "/login", "/account", "/certificates", "/logs", "/audit", "/chat", "/ai", "/workflows", "/setup", "/update"] as const;
export type View = (typeof views)[number];

// A path that no view has shows the overview.
const viewOf = (path: string): View => views.find((v) => v === path) ?? "/";

class Route {
  #url = $state.raw(new URL(location.href));

  /** The view; a place to go on to asks for the login first. */
  readonly view = $derived<View>(this.#url.pathname === "/" && this.#url.searchParams.has("next") ? "/login" : viewOf(this.#url.pathname));
  /** Where to go on to after signing in. */
  readonly next = $derived(safeNext(this.#url.searchParams.get("next"), location.origin));

  constructor() {
    window.addEventListener("popstate", () => (this.#url = new URL(location.href)));
  }

  go(href: string): void {
    history.pushState(null, "", href);
    this.#url = new URL(location.href);
    scrollTo(0, 0);
  }

  /** Takes over a click on a link to a view, so that nothing is loaded twice. */
  follow(e: MouseEvent): void {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const link = e.target instanceof Element ? e.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.hash || !views.some((v) => v === link.pathname)) return;
    e.preventDefault();
    this.go(link.href);
  }
}

export const route = new Route();
