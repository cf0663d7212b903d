import { union } from "../mask.js";
import { Tool } from "./tool.js";

/**
 * What the brush and the eraser share: a disc that is dragged over rasters; a stroke is one step.
 * @typedef {{id: string, label: string, raster: import("../mask.js").Raster, base: import("../mask.js").Raster | null,
 *   box: import("../mask.js").Box, touched: boolean}} Part `base`: the raster before; `box`: what is not on the screen yet
 */
export class StrokeTool extends Tool {
  /** @type {import("../geometry.js").Point | null} */
  last = null;
  /** @type {Part[]} */
  parts = [];

  get busy() {
    return this.last !== null;
  }

  move(p) {
    if (this.last) this.stroke(this.last, p);
  }

  up(p) {
    if (!this.last) return;
    this.move(p);
    const changes = this.parts.filter((part) => part.touched).map((part) => this.#encoded(part));
    this.cancel();
    this.commit(changes);
  }

  finish() {
    if (this.last) this.up(this.last);
  }

  cancel() {
    [this.last, this.parts] = [null, []];
    this.desk.painting(null);
  }

  /** Drags the disc over all parts. @param {import("../geometry.js").Point} from @param {import("../geometry.js").Point} to */
  stroke(from, to) {
    for (const part of this.parts) part.box = union(part.box, this.paint(part, from, to));
    this.last = to;
    this.desk.painting(this.parts.filter((part) => part.touched));
  }

  /** @param {string} id @param {string} label @param {import("../mask.js").Raster} raster @param {import("../mask.js").Raster | null} base @returns {Part} */
  part(id, label, raster, base) {
    return { id, label, raster, base, box: { x: 0, y: 0, width: 0, height: 0 }, touched: false };
  }

  /** A part's id and geometry, null where no paint is left. @param {Part} part */
  #encoded({ id, raster }) {
    const geometry = raster.encoded(this.desk.size);
    if (geometry.counts.length === 1) return [id, null];
    this.desk.rasters.remember(geometry, raster);
    return [id, geometry];
  }
}
