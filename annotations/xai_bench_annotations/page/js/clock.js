/** How long a reader works on a film: the time with the page in sight and something done in the last half minute. */

const IDLE = 30_000; // ms
const TICK = 1_000;
const SIGNS = ["pointermove", "pointerdown", "keydown", "wheel"];

export class Clock {
  /** @param {number} seconds from earlier visits */
  constructor(seconds) {
    this.seconds = seconds;
    this.last = performance.now();
    this.ending = new AbortController();
    for (const sign of SIGNS) addEventListener(sign, () => (this.last = performance.now()), { signal: this.ending.signal, passive: true, capture: true });
    this.timer = setInterval(() => {
      if (!document.hidden && performance.now() - this.last < IDLE) this.seconds += TICK / 1000;
    }, TICK);
  }

  close() {
    clearInterval(this.timer);
    this.ending.abort();
  }
}
