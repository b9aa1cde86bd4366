// One thing that a form tries: under way, refused and why, or to be waited for.

import { asApiError, type ApiError } from "./api";
import { Countdown } from "./countdown.svelte";

export class Attempt {
  busy = $state(false);
  error = $state.raw<ApiError>();
  readonly wait = new Countdown();
  readonly blocked = $derived(this.busy || this.wait.left > 0);

  /** Runs act unless it is to wait; tells whether it went well. */
  async run(act: () => Promise<unknown>): Promise<boolean> {
    if (this.blocked) return false;
    this.busy = true;
    this.error = undefined;
    try {
      await act();
      return true;
    } catch (err) {
      this.error = asApiError(err);
      this.wait.start(this.error.wait);
      return false;
    } finally {
      this.busy = false;
    }
  }
}
