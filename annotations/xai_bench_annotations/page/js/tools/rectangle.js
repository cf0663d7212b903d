import { distance, rectangle } from "../geometry.js";
import { Tool } from "./tool.js";

const CLICK = 4; // CSS pixels: less is a click, and a second click gives the other corner

/** From corner to corner, by a drag or by two clicks. */
export class RectangleTool extends Tool {
  /** @type {import("../geometry.js").Point | null} */
  from = null;
  /** @type {import("../geometry.js").Point | null} */
  to = null;
  second = false; // whether it is finished by the next release, wherever that is

  get busy() {
    return this.from !== null;
  }

  get draft() {
    return this.from && this.to ? rectangle(this.from, this.to) : null;
  }

  down(p) {
    if (this.from) [this.to, this.second] = [this.desk.clamped(p), true];
    else [this.from, this.to, this.second] = [this.desk.clamped(p), this.desk.clamped(p), false];
  }

  move(p) {
    if (this.from) this.to = this.desk.clamped(p);
  }

  up(p) {
    this.move(p);
    if (this.from && (this.second || distance(this.from, this.to) > this.reach(CLICK))) this.finish();
  }

  finish() {
    const drawn = this.draft;
    if (drawn && drawn.width > 0 && drawn.height > 0) this.desk.add(drawn);
    this.cancel();
  }

  cancel() {
    [this.from, this.to] = [null, null];
  }

  back() {
    const was = this.busy;
    this.cancel();
    return was;
  }
}
