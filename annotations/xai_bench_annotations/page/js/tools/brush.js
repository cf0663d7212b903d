import { rings } from "../geometry.js";
import { Raster, common, reach } from "../mask.js";
import { newId } from "../store.js";
import { Tool } from "./tool.js";

/** Paints onto the label's painted area; there is one a label, and a stroke is one step. */
export class BrushTool extends Tool {
  /** @type {import("../geometry.js").Point | null} */
  last = null;

  get busy() {
    return this.last !== null;
  }

  get draft() {
    return { kind: "brush", erase: false };
  }

  down(p) {
    const drawn = this.desk.store.of(this.desk.label).find((drawing) => drawing.geometry.kind === "mask");
    this.id = drawn?.id ?? newId();
    this.raster = drawn ? this.desk.rasters.get(drawn.geometry).copy() : new Raster(0, 0, 0, 0);
    this.#stroke(p, p);
  }

  move(p) {
    if (this.last) this.#stroke(this.last, p);
  }

  up(p) {
    if (!this.last) return;
    this.move(p);
    const geometry = this.raster.encoded(this.desk.size);
    this.cancel();
    if (geometry.counts.length === 1) return; // beside the film
    if (this.desk.store.get(this.id)) this.desk.change("paint", [[this.id, geometry]]);
    else this.desk.add(geometry, this.id);
  }

  finish() {
    if (this.last) this.up(this.last);
  }

  cancel() {
    this.last = null;
    this.desk.painting(null);
  }

  #stroke(from, to) {
    this.raster = this.raster.covering(reach(from, to, this.desk.radius), this.desk.size);
    const box = this.raster.paint(from, to, this.desk.radius, 1);
    this.last = to;
    this.desk.painting([{ id: this.id, raster: this.raster, label: this.desk.label, box }]);
  }
}

/** Erases from whatever of the label lies under it; an area with a bite taken out becomes a painted one. */
export class EraserTool extends Tool {
  /** @type {import("../geometry.js").Point | null} */
  last = null;

  get busy() {
    return this.last !== null;
  }

  get draft() {
    return { kind: "brush", erase: true };
  }

  down(p) {
    this.parts = this.desk.store.of(this.desk.label).flatMap((drawing) => {
      const { geometry } = drawing;
      if (geometry.kind !== "mask" && !rings(geometry).length) return [];
      const raster = geometry.kind === "mask" ? this.desk.rasters.get(geometry).copy() : Raster.filled(rings(geometry), this.desk.size);
      return [{ id: drawing.id, raster, label: drawing.label, box: { x: 0, y: 0, width: 0, height: 0 }, touched: false }];
    });
    if (!this.parts.length) return this.desk.say("There is nothing of this label to erase.");
    this.#stroke(p, p);
  }

  move(p) {
    if (this.last) this.#stroke(this.last, p);
  }

  up(p) {
    if (!this.last) return;
    this.move(p);
    const changes = this.parts.filter((part) => part.touched).map((part) => {
      const geometry = part.raster.encoded(this.desk.size);
      return [part.id, geometry.counts.length > 1 ? geometry : null];
    });
    this.cancel();
    if (changes.length) this.desk.change("erase", changes);
  }

  finish() {
    if (this.last) this.up(this.last);
  }

  cancel() {
    this.last = null;
    this.desk.painting(null);
  }

  #stroke(from, to) {
    const { radius } = this.desk;
    for (const part of this.parts) {
      const near = common(reach(from, to, Math.max(radius, 1)), part.raster);
      const before = painted(part.raster, near);
      part.box = part.raster.paint(from, to, radius, 0);
      part.touched ||= painted(part.raster, near) < before;
    }
    this.last = to;
    this.desk.painting(this.parts.filter((part) => part.touched));
  }
}

/** How many pixels of a box are painted. */
function painted(raster, box) {
  let sum = 0;
  for (let row = box.y; row < box.y + box.height; row++) {
    const at = (row - raster.y) * raster.width - raster.x;
    for (let column = box.x; column < box.x + box.width; column++) sum += raster.data[at + column];
  }
  return sum;
}
