// Signing in, the account, and its sessions.

import { get, list, send } from "./api";
import type { Requirements } from "./password";

/** The one account there is. */
export const USER = "admin";

export interface Me {
  username: string;
  session: string;
  created_at: string;
  expires_at: string;
  totp_enabled: boolean;
  recovery_codes_left: number;
  password_changed_at: string;
}

export interface SessionEntry {
  id: string;
  /** Absent on the machine itself. */
  address?: string;
  user_agent?: string;
  kind: "cookie" | "bearer";
  created_at: string;
  last_used_at: string;
  expires_at: string;
  current: boolean;
}

/** Creates the admin with the code from the device's screen, and signs in. */
export const setup = (code: string, password: string) => send("POST", "/api/auth/setup", { code, password });

/** totp is a code of the authenticator app or a recovery code; ApiError "totp-required" asks for it. */
export const login = (password: string, totp?: string) =>
  send("POST", "/api/auth/login", { username: USER, password, ...(totp ? { totp } : {}) });

export const fetchRequirements = () => get<Requirements>("/api/auth/password-requirements");

export const fetchMe = () => get<Me>("/api/auth/me");

export const fetchSessions = async () => list((await get<{ sessions: SessionEntry[] | null }>("/api/auth/sessions")).sessions);

export const endSession = (id: string) => send("DELETE", "/api/auth/sessions/" + encodeURIComponent(id));

/** All but this one. */
export const endOtherSessions = () => send("DELETE", "/api/auth/sessions");

/** Ends the other sessions too. */
export const changePassword = (current_password: string, new_password: string) =>
  send("POST", "/api/auth/change-password", { current_password, new_password });

/** Begins with a second factor: it counts only after confirmTotp. */
export const enrollTotp = (password: string) => send<{ secret: string; uri: string }>("POST", "/api/auth/totp/enroll", { password });

/** The recovery codes, which are never shown again. */
export const confirmTotp = async (code: string) =>
  list((await send<{ recovery_codes: string[] | null }>("POST", "/api/auth/totp/confirm", { code })).recovery_codes);

export const disableTotp = (password: string, code: string) => send("POST", "/api/auth/totp/disable", { password, code });
