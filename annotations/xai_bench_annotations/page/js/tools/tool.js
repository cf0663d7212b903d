/**
 * A tool turns presses, moves and releases, in image pixels, into drawings. It knows neither the screen nor the device:
 * mouse, pen, finger and arrow keys come through the same calls.
 * @typedef {import("../geometry.js").Point} Point
 * @typedef {{alt: boolean, touch: boolean}} How
 */
export class Tool {
  /** @param {import("../desk.js").Desk} desk */
  constructor(desk) {
    this.desk = desk;
  }

  /** Image pixels that so many CSS pixels of the screen are. @param {number} css */
  reach(css) {
    return css / this.desk.view.scale;
  }

  /** Whether something is begun and not finished. */
  get busy() {
    return false;
  }

  /** What is begun, to be shown. @returns {any} */
  get draft() {
    return null;
  }

  /** @param {Point} _p @param {How} _how */
  down(_p, _how) {}
  /** @param {Point} _p @param {How} _how */
  move(_p, _how) {}
  /** @param {Point} _p @param {How} _how */
  up(_p, _how) {}
  /** Enter, or a double click. */
  finish() {}
  /** Escape. */
  cancel() {}
  /** Backspace: takes back the last step. @returns {boolean} whether there was one */
  back() {
    return false;
  }
}
