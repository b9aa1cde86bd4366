// Where to go on after signing in. The place comes out of the address bar,
// where anybody may have put it: only a path of this appliance is taken.

/**
 * The path to go on to, with its query and fragment; "/" for whatever could lead
 * to another site, to the API, or straight back to the login.
 */
export function safeNext(wanted: string | null, origin: string): string {
  // A backslash counts as a slash to browsers, and control characters as nothing.
  if (!wanted || !/^\/(?![/\\])/.test(wanted) || /[\\\u0000-\u001f\u007f]/.test(wanted)) return "/";
  let url: URL;
  try {
    url = new URL(wanted, origin);
  } catch {
    return "/";
  }
  // "/.//elsewhere" is tidied up to "//elsewhere", which names another host.
  if (url.origin !== origin || url.pathname.startsWith("//")) return "/";
  const first = url.pathname.split("/")[1];
  if (first === "login" || (first === "api" && url.pathname !== "/api/docs")) return "/";
  if (url.pathname === "/" && url.searchParams.has("next")) return "/";
  return url.pathname + url.search + url.hash;
}

/** The login, told where to go on to. */
export const loginAt = (path: string): string => (path === "/" ? "/login" : "/login?next=" + encodeURIComponent(path));
