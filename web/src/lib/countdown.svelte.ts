// The seconds until something may be tried again, counted down.

export class Countdown {
  /** Whole seconds that are left; 0 when the wait is over. */
  left = $state(0);
  #until = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Counts from now. The end is fixed, so that a sleeping browser does not stretch the wait. */
  start(seconds: number): void {
    this.stop();
    this.#until = Date.now() + seconds * 1000;
    this.#tick();
    if (this.left > 0) this.#timer = setInterval(() => this.#tick(), 250);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.left = 0;
  }

  #tick(): void {
    const left = Math.max(0, Math.ceil((this.#until - Date.now()) / 1000));
    if (left === 0) this.stop();
    else this.left = left;
  }
}
