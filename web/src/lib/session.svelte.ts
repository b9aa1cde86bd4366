// Whether somebody is signed in. The session itself is a cookie that no script
// can read; this only remembers what the dashboard said about it.

import { asApiError, get, send, type ApiError } from "./api";

/** GET /api/auth/status */
export interface AuthStatus {
  /** Signing in is possible now: the database is there. */
  available: boolean;
  /** There is no admin yet. */
  setup_needed: boolean;
  authenticated: boolean;
  /** The page came over https. */
  secure: boolean;
  /** This browser may read the status without signing in. */
  status_open: boolean;
  timestamp: string;
}

class Session {
  status = $state.raw<AuthStatus>();
  error = $state.raw<ApiError>();

  readonly admin = $derived(this.status?.authenticated === true);
  /** Known to be allowed nothing but the login. */
  readonly closed = $derived(this.status !== undefined && !this.status.authenticated && !this.status.status_open);

  async load(): Promise<void> {
    try {
      this.status = await get<AuthStatus>("/api/auth/status");
      this.error = undefined;
    } catch (err) {
      this.error = asApiError(err);
    }
  }

  /** Something was refused for want of a session: it ended elsewhere, or by time. */
  lapsed(): void {
    if (this.status?.authenticated) this.status = { ...this.status, authenticated: false };
  }

  /** Ends this session, or all of them. The page is loaded anew, so that nothing stays behind in it. */
  async end(which: "logout" | "logout-all"): Promise<void> {
    try {
      await send("POST", "/api/auth/" + which);
    } catch (err) {
      if (asApiError(err).status !== 401) throw err; // it has ended already
    }
    location.assign("/");
  }
}

export const session = new Session();
