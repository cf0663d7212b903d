import { distance, dragged, handles, inserted, moved, without } from "../geometry.js";
import { Tool } from "./tool.js";

const SLACK = 4; // CSS pixels that the hand may tremble before something moves

/** Chooses a drawing and changes it: drag a vertex, drag the small middle points to put one in, drag the whole. */
export class SelectTool extends Tool {
  /** @type {string | null} the vertex that was touched last; Delete removes it */
  vertex = null;
  /** @type {any} */
  grip = null;

  get busy() {
    return this.grip !== null;
  }

  /** The chosen drawing as it looks while it is dragged. */
  get draft() {
    return this.grip?.geometry ? { kind: "edit", id: this.grip.id, geometry: this.grip.geometry } : null;
  }

  down(p, how) {
    const { desk } = this;
    const chosen = desk.store.get(desk.selected ?? "");
    const hit = desk.hit(p, how.touch);
    this.grip = null;
    if (chosen && hit?.id === chosen.id && hit.handle) return this.#grab(chosen, hit.handle, p, how);
    this.vertex = null;
    if (hit && hit.id === desk.selected) this.grip = { id: hit.id, from: p, at: p, start: chosen.geometry, geometry: null, handle: null };
    else desk.select(hit?.id ?? null);
  }

  move(p) {
    const { grip, desk } = this;
    if (!grip) return;
    if (!grip.geometry && distance(p, grip.from) < this.reach(SLACK)) return;
    const to = desk.clamped([grip.at[0] + p[0] - grip.from[0], grip.at[1] + p[1] - grip.from[1]]);
    if (grip.handle) grip.geometry = dragged(grip.start, grip.handle, to);
    else if (grip.start.kind !== "mask") grip.geometry = moved(grip.start, p[0] - grip.from[0], p[1] - grip.from[1], desk.size);
  }

  up(p) {
    if (!this.grip) return;
    this.move(p);
    const { id, geometry, handle } = this.grip;
    this.grip = null;
    if (geometry) this.desk.change(handle ? "move point" : "move", [[id, geometry]]);
  }

  finish() {
    if (this.grip?.geometry) this.desk.change("move point", [[this.grip.id, this.grip.geometry]]);
    this.grip = null;
  }

  cancel() {
    if (!this.grip) this.desk.select(null);
    [this.grip, this.vertex] = [null, null];
  }

  /** Delete or Backspace: the vertex touched last, else the drawing. */
  back() {
    const chosen = this.desk.store.get(this.desk.selected ?? "");
    if (!chosen) return false;
    if (this.vertex?.startsWith("ring")) this.removeVertex(chosen, this.vertex);
    else this.desk.remove(chosen.id);
    return true;
  }

  /** The chosen vertex, or else the whole, by arrow keys. @param {number} dx @param {number} dy */
  nudge(dx, dy) {
    const chosen = this.desk.store.get(this.desk.selected ?? "");
    if (!chosen || chosen.geometry.kind === "mask") return false;
    const handle = handles(chosen.geometry).find(({ key }) => key === this.vertex);
    const next = handle
      ? dragged(chosen.geometry, handle.key, this.desk.clamped([handle.at[0] + dx, handle.at[1] + dy]))
      : moved(chosen.geometry, dx, dy, this.desk.size);
    this.desk.change(handle ? "move point" : "move", [[chosen.id, next]], `nudge ${chosen.id} ${this.vertex}`);
    return true;
  }

  /** The next vertex, for the keyboard. @param {number} step */
  nextVertex(step) {
    const chosen = this.desk.store.get(this.desk.selected ?? "");
    const all = chosen ? handles(chosen.geometry).filter((handle) => !handle.middle) : [];
    if (!all.length) return null;
    const at = all.findIndex(({ key }) => key === this.vertex);
    const next = all[(Math.max(at, step < 0 ? 0 : -1) + step + all.length) % all.length];
    this.vertex = next.key;
    return next.at;
  }

  /** A new vertex after the chosen one, for the keyboard. */
  insertAfter() {
    const chosen = this.desk.store.get(this.desk.selected ?? "");
    const middle = chosen && this.vertex?.startsWith("ring") ? this.vertex.replace("ring", "middle") : null;
    const at = middle && handles(chosen.geometry).find(({ key }) => key === middle)?.at;
    if (!at) return this.desk.say("Choose a point of an area first: press . or click it.");
    const { geometry, key } = inserted(chosen.geometry, middle, at);
    this.desk.change("insert point", [[chosen.id, geometry]]);
    this.vertex = key;
  }

  removeVertex(chosen, key) {
    const left = without(chosen.geometry, key);
    this.vertex = null;
    if (left) this.desk.change("delete point", [[chosen.id, left]]);
    else this.desk.say("An area keeps at least three points; delete the whole drawing instead.");
  }

  #grab(chosen, key, p, how) {
    if (how.alt) return this.removeVertex(chosen, key);
    let start = chosen.geometry;
    if (key.startsWith("middle")) ({ geometry: start, key } = inserted(start, key, p));
    const at = handles(start).find((handle) => handle.key === key)?.at ?? p;
    const isNew = start !== chosen.geometry;
    this.vertex = key;
    this.grip = { id: chosen.id, from: p, at, start, handle: key, geometry: isNew ? start : null };
  }
}
