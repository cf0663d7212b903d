/** Mouse, pen, fingers and arrow keys become presses, moves and releases of the tool in hand, or pan, zoom and window. */
import { distance } from "./geometry.js";

const WHEEL = 0.0016; // zoom a CSS pixel of wheel travel, as an exponent
const LINE = 18; // CSS pixels that a wheel's line counts for
const STEP = 6; // CSS pixels that an arrow key moves
const DRAGGED = new Set(["freehand", "brush", "eraser", "select"]); // tools that are held down while they draw

export class Input {
  /** @param {import("./desk.js").Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.stage = desk.elements.stage;
    /** @type {Map<number, [number, number]>} */
    this.pointers = new Map();
    /** @type {"tool" | "pan" | "window" | "pinch" | null} */
    this.mode = null;
    this.space = false;
    this.held = false; // by the keyboard
    /** @type {(() => void) | null} */
    this.onCursor = null;
    this.ending = new AbortController();
    const on = (/** @type {string} */ type, /** @type {(event: any) => void} */ act) =>
      this.stage.addEventListener(type, act, { signal: this.ending.signal, passive: false });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#lost(event));
    on("pointerleave", () => this.#leave());
    on("dblclick", (event) => event.button === 0 && this.#act(() => this.desk.tool.finish()));
    on("wheel", (event) => this.#wheel(event));
    on("contextmenu", (event) => event.preventDefault());
    on("auxclick", (event) => event.preventDefault());
  }

  close() {
    this.ending.abort();
  }

  // Pointers

  #at(event) {
    const { left, top } = this.stage.getBoundingClientRect();
    return /** @type {[number, number]} */ ([event.clientX - left, event.clientY - top]);
  }

  #down(event) {
    event.preventDefault();
    this.stage.focus({ preventScroll: true });
    const at = this.#at(event);
    this.pointers.set(event.pointerId, at);
    capture(this.stage, event.pointerId);
    if (this.pointers.size === 2 && event.pointerType === "touch") return this.#pinch();
    if (this.pointers.size > 1) return;
    this.mode = this.#modeOf(event);
    this.moved = false;
    if (this.mode === "tool") this.#press(this.desk.view.toImage(at), how(event));
    this.#look();
  }

  /** @returns {"tool" | "pan" | "window"} */
  #modeOf(event) {
    if (event.button === 2 || (event.button === 0 && event.ctrlKey)) return "window";
    return event.button === 1 || this.space || (event.altKey && this.desk.toolName !== "select") ? "pan" : "tool";
  }

  #press(p, way) {
    const { desk } = this;
    if (desk.locked && desk.toolName !== "select") {
      this.mode = "pan";
      return desk.say("This film is done. Reopen it to change it.");
    }
    this.#show(p, false);
    this.#act(() => desk.tool.down(p, way));
    if (desk.toolName === "select" && !desk.tool.busy && !desk.hit(p, way.touch)) this.mode = "pan"; // beside everything
  }

  #move(event) {
    const at = this.#at(event);
    const before = this.pointers.get(event.pointerId);
    if (before) this.pointers.set(event.pointerId, at);
    if (this.mode === "pinch") return before ? this.#pinched(event.pointerId, before) : undefined;
    if (before && this.mode === "pan") return this.desk.pan(at[0] - before[0], at[1] - before[1]);
    if (before && this.mode === "window") return this.desk.dragWindow(at[0] - before[0], at[1] - before[1]);
    const { desk } = this;
    const drag = before && this.mode === "tool";
    if (drag || !this.held) {
      for (const one of drag ? together(event) : [event]) desk.tool.move(desk.view.toImage(this.#at(one)), how(event));
    }
    this.#show(desk.view.toImage(at), false);
    if (!drag && desk.toolName === "select") this.#hover(desk.hit(desk.view.toImage(at), false, true));
  }

  #up(event) {
    const at = this.#at(event);
    this.pointers.delete(event.pointerId);
    if (this.mode === "tool") this.#act(() => this.desk.tool.up(this.desk.view.toImage(at), how(event)));
    if (!this.pointers.size || this.mode !== "pinch") this.mode = null;
    if (event.pointerType === "touch") this.desk.cursor = null;
    this.#look();
  }

  #lost(event) {
    this.pointers.delete(event.pointerId);
    if (this.mode === "tool") this.#act(() => DRAGGED.has(this.desk.toolName) && this.desk.tool.cancel());
    this.mode = null;
  }

  #leave() {
    if (this.pointers.size || this.desk.cursor?.keyboard) return;
    this.desk.cursor = null;
    this.desk.redraw("front");
    this.onCursor?.();
  }

  #wheel(event) {
    event.preventDefault();
    const travel = event.deltaY * (event.deltaMode === 1 ? LINE : event.deltaMode === 2 ? 400 : 1);
    this.desk.zoom(Math.exp(-Math.max(-400, Math.min(400, travel)) * WHEEL * (event.ctrlKey ? 5 : 1)), this.#at(event));
  }

  /** A second finger: what the first one began is not meant. */
  #pinch() {
    if (this.mode === "tool") this.#act(() => (DRAGGED.has(this.desk.toolName) ? this.desk.tool.cancel() : this.desk.tool.back()));
    this.mode = "pinch";
  }

  #pinched(id, before) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    const now = /** @type {[number, number]} */ (this.pointers.get(id));
    if (!other) return;
    const middle = (/** @type {[number, number]} */ p) => [(p[0] + other[0]) / 2, (p[1] + other[1]) / 2];
    const [from, to] = [middle(before), middle(now)];
    this.desk.zoom(distance(now, other) / Math.max(1, distance(before, other)), /** @type {any} */ (to));
    this.desk.pan(to[0] - from[0], to[1] - from[1]);
  }

  // The keyboard in place of a pointer

  /** @param {number} dx @param {number} dy @param {{shiftKey: boolean, ctrlKey: boolean, metaKey: boolean}} event */
  arrow(dx, dy, event) {
    const { desk } = this;
    const fine = event.ctrlKey || event.metaKey;
    const step = fine ? 1 : Math.max(1, Math.round(STEP / desk.view.scale)) * (event.shiftKey ? 6 : 1);
    const small = event.shiftKey ? 10 : 1;
    if (desk.toolName === "select" && !this.held && !desk.cursor?.keyboard && desk.tool.nudge(dx * small, dy * small)) return;
    const from = desk.cursor?.at ?? desk.clamped(desk.view.toImage([desk.box.width / 2, desk.box.height / 2]));
    const p = desk.clamped([from[0] + dx * step, from[1] + dy * step]);
    this.#show(p, true);
    this.#follow(p);
    this.#act(() => desk.tool.move(p, KEYS));
  }

  /** Space: a press of the button; tools that are held stay down until the next one. */
  press() {
    const { desk } = this;
    const p = desk.cursor?.at;
    if (!p) return;
    if (this.held) return this.release();
    if (desk.locked && desk.toolName !== "select") return desk.say("This film is done. Reopen it to change it.");
    this.#act(() => desk.tool.down(p, KEYS));
    if (!DRAGGED.has(desk.toolName)) this.#act(() => desk.tool.up(p, KEYS));
    else this.held = desk.tool.busy;
    if (this.held) desk.say("Held down: arrow keys draw, Space lets go.");
  }

  release() {
    const p = this.desk.cursor?.at;
    this.held = false;
    if (p) this.#act(() => this.desk.tool.up(p, KEYS));
  }

  /** Moves the view when the cross comes near its edge. */
  #follow(p) {
    const { desk } = this;
    const [[x, y], { width, height }, edge] = [desk.view.toScreen(p), desk.box, 40];
    const over = (/** @type {number} */ at, /** @type {number} */ end) => (at < edge ? edge - at : at > end - edge ? end - edge - at : 0);
    if (over(x, width) || over(y, height)) desk.pan(over(x, width), over(y, height));
  }

  // What is seen of it

  #act(act) {
    act();
    this.desk.redraw("front");
    this.desk.tell(); // a point that was put can be taken back
  }

  #show(p, keyboard) {
    this.desk.cursor = { at: p, keyboard };
    this.desk.redraw("front");
    this.onCursor?.();
  }

  #hover(hit) {
    this.stage.dataset.over = hit ? (hit.handle ? "handle" : "shape") : "";
  }

  #look() {
    this.stage.dataset.mode = this.mode ?? "";
  }
}

const KEYS = { alt: false, touch: false };

/** @param {PointerEvent} event */
const how = (event) => ({ alt: event.altKey, touch: event.pointerType === "touch" });

/** All positions since the last event: a fast stroke has several in one frame. @param {PointerEvent} event @returns {PointerEvent[]} */
function together(event) {
  const all = event.getCoalescedEvents?.() ?? [];
  return all.length ? all : [event];
}

/** Keeps a drag that leaves the film. A pointer made by a test cannot be captured. */
function capture(/** @type {HTMLElement} */ element, /** @type {number} */ id) {
  try {
    element.setPointerCapture(id);
  } catch (error) {
    if (/** @type {Error} */ (error).name !== "NotFoundError") throw error;
  }
}
