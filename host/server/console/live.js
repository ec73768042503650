// Looking again and again while a page is shown.

/** Calls `look` now and every `ms` until `signal` ends; one look never overlaps the next. */
export async function repeat(ms, signal, look) {
  while (!signal.aborted) {
    await look();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}
