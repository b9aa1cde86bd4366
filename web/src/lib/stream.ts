// The live connection: one state machine that keeps a WebSocket open.
//
//   stopped ──start──▶ connecting ──open──▶ live
//                        ▲    │ close,        │ close, silent
//                 timer, │    ▼ timed out     ▼
//                   wake └────────── waiting ◀┘        stop: any ──▶ stopped
//
// It passes on messages and knows nothing of what they mean. Waits double from
// 250 ms to 10 s, with jitter, so that a hundred pages do not come back at once.

export type Link = "stopped" | "connecting" | "live" | "waiting";

/** The part of WebSocket that is used. */
export interface Socket {
  onopen: ((e: Event) => void) | null;
  onmessage: ((e: MessageEvent) => void) | null;
  onclose: ((e: CloseEvent) => void) | null;
  close(): void;
}

export interface Options {
  dial: () => Socket;
  onLink: (link: Link) => void;
  onMessage: (data: string) => void;
  /** 0 to 1; Math.random unless told. */
  random?: () => number;
}

export const FIRST_WAIT = 250;
export const LONGEST_WAIT = 10_000;
/** A connection must open within this time. */
export const OPEN_WITHIN = 5_000;
/** The status is repeated every 15 seconds: this long without it is a dead connection that nobody closed. */
export const SILENCE = 30_000;
/** A connection that lived this long starts the waits from the beginning again. */
export const STEADY = 5_000;

/** The wait before attempt n (0 is the first), between half and all of the doubled time. */
export function backoff(n: number, random: number): number {
  const full = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(n, 16));
  return full / 2 + (full / 2) * random;
}

export class Stream {
  #link: Link = "stopped";
  #socket: Socket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  #openedAt = 0;
  readonly #opts: Options;

  constructor(opts: Options) {
    this.#opts = opts;
  }

  get link(): Link {
    return this.#link;
  }

  start(): void {
    if (this.#link === "stopped") this.#dial();
  }

  stop(): void {
    this.#drop();
    this.#attempts = 0;
    this.#enter("stopped");
  }

  /** Ends a wait now: the network is back, or the reader asked. */
  wake(): void {
    if (this.#link === "waiting") this.#dial();
  }

  #dial(): void {
    this.#drop();
    this.#enter("connecting");
    let socket: Socket;
    try {
      socket = this.#opts.dial();
    } catch {
      this.#lost();
      return;
    }
    this.#socket = socket;
    this.#after(OPEN_WITHIN, () => this.#lost());
    socket.onopen = () => {
      this.#openedAt = Date.now();
      this.#listen();
      this.#enter("live");
    };
    socket.onmessage = (e) => {
      this.#listen();
      this.#opts.onMessage(String(e.data));
    };
    socket.onclose = () => this.#lost();
  }

  #listen(): void {
    this.#after(SILENCE, () => this.#lost());
  }

  #lost(): void {
    const steady = this.#link === "live" && Date.now() - this.#openedAt >= STEADY;
    this.#drop();
    if (steady) this.#attempts = 0;
    const wait = backoff(this.#attempts++, (this.#opts.random ?? Math.random)());
    this.#after(wait, () => this.#dial());
    this.#enter("waiting");
  }

  // drop forgets the socket and the timer; what the old socket still says is not heard.
  #drop(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = undefined;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #after(ms: number, run: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(run, ms);
  }

  #enter(link: Link): void {
    if (this.#link === link) return;
    this.#link = link;
    this.#opts.onLink(link);
  }
}
