/** Painted areas on their canvas: a label's color with an outline like a shape's. They live in image pixels at every zoom. */
import { Raster, common } from "./mask.js";

const LINE = 2; // CSS pixels
const RIM = "rgba(0, 0, 0, 0.65)";

/** Rasters of painted geometries; geometries never change, so one is decoded once. */
export class Rasters {
  #known = new WeakMap();

  /** @param {import("./geometry.js").Mask} mask @returns {Raster} */
  get(mask) {
    if (!this.#known.has(mask)) this.#known.set(mask, Raster.decoded(mask));
    return this.#known.get(mask);
  }
}

/** A raster's pixels in one color, and its outline, kept up to date by boxes. */
class Tinted {
  /** @param {Raster} raster @param {string} color @param {number} opacity */
  constructor(raster, color, opacity) {
    [this.color, this.opacity] = [color, opacity];
    this.canvas = document.createElement("canvas");
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    this.#fit(raster);
  }

  /** @param {Raster} raster @param {import("./mask.js").Box} box what changed since */
  update(raster, box) {
    if (raster.x !== this.x || raster.y !== this.y || raster.width !== this.canvas.width || raster.height !== this.canvas.height) return this.#fit(raster);
    this.#tint(raster, common(box, raster));
  }

  /** Where paint begins and ends, in image pixels. */
  get outline() {
    this.path ??= this.rows.reduce((path, row) => {
      for (let i = 0; i < row.length; i += 4) {
        path.moveTo(row[i], row[i + 1]);
        path.lineTo(row[i + 2], row[i + 3]);
      }
      return path;
    }, new Path2D());
    return this.path;
  }

  #fit(/** @type {Raster} */ raster) {
    [this.x, this.y, this.canvas.width, this.canvas.height] = [raster.x, raster.y, raster.width, raster.height];
    this.rows = Array(raster.height + 1);
    this.#tint(raster, raster);
  }

  #tint(/** @type {Raster} */ raster, /** @type {import("./mask.js").Box} */ box) {
    this.path = null;
    for (let row = box.y; row <= box.y + box.height; row++) this.rows[row - raster.y] = edges(raster, row);
    if (!box.width || !box.height) return;
    const picture = new ImageData(box.width, box.height);
    const out = new Uint32Array(picture.data.buffer);
    const value = parseInt(this.color.slice(1), 16);
    const tint = ((Math.round(255 * this.opacity) << 24) | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
    for (let row = box.y - raster.y, at = 0; row < box.y - raster.y + box.height; row++) {
      for (let from = row * raster.width + box.x - raster.x, end = from + box.width; from < end; from++, at++) if (raster.data[from]) out[at] = tint;
    }
    this.context.putImageData(picture, box.x - raster.x, box.y - raster.y);
  }
}

/** The pixel borders between paint and none above a row and within it, as x, y, x, y. @param {Raster} raster @param {number} row */
function edges({ data, x, y, width, height }, row) {
  const lines = [];
  const at = (row - y) * width;
  const here = (/** @type {number} */ column) => (row - y < height && column >= 0 && column < width ? data[at + column] : 0);
  const above = (/** @type {number} */ column) => (row > y && column < width ? data[at - width + column] : 0);
  for (let column = 0, from = -1; column <= width; column++) {
    const differs = here(column) !== above(column);
    if (differs && from < 0) from = column;
    if (!differs && from >= 0) [from] = [(lines.push(x + from, row, x + column, row), -1)];
    if (here(column) !== here(column - 1)) lines.push(x + column, row, x + column, row + 1);
  }
  return lines;
}

export class Paint {
  /** @param {HTMLCanvasElement} canvas @param {Rasters} rasters */
  constructor(canvas, rasters) {
    [this.canvas, this.rasters] = [canvas, rasters];
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {Map<string, {of: any, tinted: Tinted}>} */
    this.known = new Map();
  }

  /**
   * @param {{drawings: any[], live: any[], colorOf: (label: string) => string, opacity: number, view: any, ratio: number}} what
   */
  draw({ drawings, live, colorOf, opacity, view, ratio }) {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, view.x * ratio, view.y * ratio);
    context.imageSmoothingEnabled = view.scale * ratio < 2;
    const painted = drawings.filter((drawing) => drawing.geometry.kind === "mask" && !live.some(({ id }) => id === drawing.id));
    const all = [
      ...painted.map((d) => ({ id: d.id, of: d.geometry, raster: this.rasters.get(d.geometry), color: colorOf(d.label), box: null })),
      ...live.map((part) => ({ id: part.id, of: "live", raster: part.raster, color: colorOf(part.label), box: part.box })),
    ];
    for (const one of all) {
      const tinted = this.#tinted(one, opacity);
      if (!tinted.canvas.width || !tinted.canvas.height) continue;
      context.drawImage(tinted.canvas, tinted.x, tinted.y);
      for (const [color, width] of /** @type {[string, number][]} */ ([[RIM, LINE + 2], [one.color, LINE]])) {
        [context.strokeStyle, context.lineWidth, context.lineCap] = [color, width / view.scale, "square"];
        context.stroke(tinted.outline);
      } // prettier-ignore
    }
    const ids = new Set(all.map(({ id }) => id));
    for (const id of this.known.keys()) if (!ids.has(id)) this.known.delete(id);
  }

  #tinted({ id, of, raster, color, box }, opacity) {
    const known = this.known.get(id);
    if (known && known.of === of && known.tinted.color === color && known.tinted.opacity === opacity) {
      if (box) known.tinted.update(raster, box);
      return known.tinted;
    }
    const tinted = new Tinted(raster, color, opacity);
    this.known.set(id, { of, tinted });
    return tinted;
  }
}
