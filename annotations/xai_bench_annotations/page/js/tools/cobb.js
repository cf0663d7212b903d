import { cobbAngle, distance } from "../geometry.js";
import { Tool } from "./tool.js";

const CLICK = 4; // CSS pixels: less is a click, and a second click gives the line's end

/** Two endplate lines, each by a drag or by two clicks; the angle is shown while the second one is drawn. */
export class CobbTool extends Tool {
  /** @type {import("../geometry.js").Point[]} */
  points = [];
  /** @type {import("../geometry.js").Point | null} */
  cursor = null;

  get busy() {
    return this.points.length > 0;
  }

  get draft() {
    if (!this.busy) return null;
    const all = this.cursor && this.points.length % 2 ? [...this.points, this.cursor] : this.points;
    const lines = [all.slice(0, 2), all.slice(2, 4)].filter((line) => line.length);
    return { kind: "cobb", lines, angle: all.length === 4 ? cobbAngle(all.slice(0, 2), all.slice(2, 4)) : null };
  }

  down(p) {
    const point = this.desk.clamped(p);
    if (this.points.length % 2 && distance(this.points.at(-1), point) <= this.reach(CLICK)) return;
    this.points.push(point);
    this.cursor = point;
  }

  move(p) {
    this.cursor = this.desk.clamped(p);
  }

  up(p) {
    this.move(p);
    if (this.points.length % 2 && distance(this.points.at(-1), this.cursor) > this.reach(CLICK)) this.points.push(this.cursor);
    if (this.points.length === 4) this.finish();
  }

  finish() {
    if (this.points.length < 4) return this.desk.say("A Cobb angle needs two lines: one along each endplate.");
    const [a, b, c, d] = this.points;
    const [upper, lower] = a[1] + b[1] <= c[1] + d[1] ? [[a, b], [c, d]] : [[c, d], [a, b]]; // prettier-ignore
    this.desk.add({ kind: "cobb", upper, lower });
    this.cancel();
  }

  cancel() {
    [this.points, this.cursor] = [[], null];
  }

  back() {
    return this.points.pop() !== undefined;
  }
}
