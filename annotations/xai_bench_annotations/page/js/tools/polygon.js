import { distance } from "../geometry.js";
import { Tool } from "./tool.js";

const SAME = 3; // CSS pixels: the second press of a double click
const CLOSING = { mouse: 9, touch: 20 }; // CSS pixels around the first point

/** A point a press; the first point, Enter or a double click closes it. */
export class PolygonTool extends Tool {
  /** @type {import("../geometry.js").Point[]} */
  points = [];
  /** @type {import("../geometry.js").Point | null} */
  cursor = null;
  closing = false;

  get busy() {
    return this.points.length > 0;
  }

  get draft() {
    return this.busy ? { kind: "polygon", points: this.points, cursor: this.cursor, closing: this.closing } : null;
  }

  down(p, how) {
    const point = this.desk.clamped(p);
    if (this.#closes(p, how)) return this.finish();
    const last = this.points.at(-1);
    if (!last || distance(last, point) > this.reach(SAME)) this.points.push(point);
    this.cursor = point;
  }

  move(p, how) {
    this.cursor = this.desk.clamped(p);
    this.closing = this.#closes(p, how);
  }

  finish() {
    if (this.points.length > 2) this.desk.add({ kind: "polygon", exterior: this.points, holes: [] });
    else if (this.busy) return this.desk.say("An area needs at least three points.");
    this.cancel();
  }

  cancel() {
    [this.points, this.cursor, this.closing] = [[], null, false];
  }

  back() {
    return this.points.pop() !== undefined;
  }

  #closes(p, how) {
    return this.points.length > 2 && distance(p, this.points[0]) <= this.reach(how.touch ? CLOSING.touch : CLOSING.mouse);
  }
}
