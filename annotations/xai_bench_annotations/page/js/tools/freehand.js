import { distance, ringArea, simplified } from "../geometry.js";
import { Tool } from "./tool.js";

const STEP = 0.7; // CSS pixels between recorded points
const TOLERANCE = 0.25; // CSS pixels that the stored line may lie beside the drawn one
const LEAST = 16; // square CSS pixels: less is a slip of the hand

/** One stroke around the area; letting go closes it. */
export class FreehandTool extends Tool {
  /** @type {import("../geometry.js").Point[]} */
  points = [];

  get busy() {
    return this.points.length > 0;
  }

  get draft() {
    return this.busy ? { kind: "freehand", points: this.points } : null;
  }

  down(p) {
    this.points = [this.desk.clamped(p)];
  }

  move(p) {
    const point = this.desk.clamped(p);
    if (this.busy && distance(this.points.at(-1), point) >= this.reach(STEP)) this.points.push(point);
  }

  up(p) {
    this.move(p);
    this.finish();
  }

  finish() {
    const ring = simplified(this.points, this.reach(TOLERANCE));
    const enough = ring.length > 2 && ringArea(ring) >= this.reach(1) ** 2 * LEAST;
    if (enough) this.desk.add({ kind: "freehand", exterior: ring, holes: [] });
    else if (this.points.length > 1) this.desk.say("Draw around the area in one stroke, then let go.");
    this.cancel();
  }

  cancel() {
    this.points = [];
  }
}
