// Asking again and again, for what the live connection does not tell.

/**
 * Calls ask now, and again whenever pause milliseconds have passed since its answer; a
 * page that nobody looks at asks nothing, and at once when it is looked at again. An
 * answer that is late is waited for, so that questions never pile up. ask does not
 * reject. Returns what ends it.
 */
export function poll(pause: () => number, ask: () => Promise<unknown>): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;
  let over = false;

  async function turn() {
    clearTimeout(timer);
    if (asking || over || document.hidden) return;
    asking = true;
    await ask();
    asking = false;
    if (!over) timer = setTimeout(turn, pause());
  }

  document.addEventListener("visibilitychange", turn);
  void turn();
  return () => {
    over = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", turn);
  };
}
