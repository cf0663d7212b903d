/** Painted areas on their canvas: a label's color with an outline like a shape's. They live in image pixels at every zoom. */
import { Raster, common } from "./mask.js";

const LINE = 2; // CSS pixels
const RIM = "rgba(0, 0, 0, 0.65)";
const NONE = { x: 0, y: 0, width: 0, height: 0 };

/** Rasters of painted geometries; geometries never change, so one is decoded once. */
export class Rasters {
  #known = new WeakMap();

  /** @param {import("./geometry.js").Mask} mask @returns {Raster} */
  get(mask) {
    if (!this.#known.has(mask)) this.#known.set(mask, Raster.decoded(mask));
    return this.#known.get(mask);
  }

  /** Keeps the raster that a geometry was made of; it must not change any more. @param {import("./mask.js").Mask} mask @param {Raster} raster */
  remember(mask, raster) {
    this.#known.set(mask, raster);
  }
}

/** A raster's pixels in one color, and its outline, kept up to date by boxes. */
class Tinted {
  /** @param {Raster} raster @param {string} color @param {number} opacity */
  constructor(raster, color, opacity) {
    [this.color, this.opacity] = [color, opacity];
    const value = parseInt(color.slice(1), 16);
    this.tint = ((Math.round(255 * opacity) << 24) | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
    this.canvas = document.createElement("canvas");
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    /** @type {number[][]} the outline, by the row of the image: it need not be looked for again when the raster grows */
    this.rows = [];
    this.update(raster, raster);
  }

  /** @param {Raster} raster @param {import("./mask.js").Box} changed since the last time; the raster may have grown, too */
  update(raster, changed) {
    const { x, y, width, height } = raster;
    const grown = width !== this.canvas.width || height !== this.canvas.height;
    if (grown) [this.x, this.y, this.canvas.width, this.canvas.height] = [x, y, width, height];
    const box = common(changed, raster);
    for (let row = box.y; row <= box.y + box.height; row++) this.rows[row] = edges(raster, row);
    this.path = null;
    this.#fill(raster, grown ? raster : box);
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

  #fill(/** @type {Raster} */ raster, /** @type {import("./mask.js").Box} */ box) {
    if (!box.width || !box.height) return;
    const picture = new ImageData(box.width, box.height);
    const out = new Uint32Array(picture.data.buffer);
    for (let row = box.y - raster.y, at = 0; row < box.y - raster.y + box.height; row++) {
      for (let from = row * raster.width + box.x - raster.x, end = from + box.width; from < end; from++, at++) if (raster.data[from]) out[at] = this.tint;
    }
    this.context.putImageData(picture, box.x - raster.x, box.y - raster.y);
  }
}

/** The pixel borders between paint and none above a row and within it, as x, y, x, y. @param {Raster} raster @param {number} row */
function edges({ data, x, y, width, height }, row) {
  const lines = [];
  const at = (row - y) * width;
  const [within, below] = [row - y < height, row > y];
  for (let column = 0, from = -1, left = 0; column <= width; column++) {
    const here = within && column < width ? data[at + column] : 0;
    const above = below && column < width ? data[at - width + column] : 0;
    if (here !== above && from < 0) from = column;
    if (here === above && from >= 0) {
      lines.push(x + from, row, x + column, row);
      from = -1;
    }
    if (here !== left) lines.push(x + column, row, x + column, row + 1);
    left = here;
  }
  return lines;
}

export class Paint {
  /** @param {HTMLCanvasElement} canvas @param {Rasters} rasters */
  constructor(canvas, rasters) {
    [this.canvas, this.rasters] = [canvas, rasters];
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {Map<string, {raster: Raster, tinted: Tinted}>} */
    this.known = new Map();
  }

  /**
   * `live`: what is being painted; their `base` is the raster before the stroke, their `box` what changed since the last frame.
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
      ...painted.map((d) => ({ id: d.id, raster: this.rasters.get(d.geometry), color: colorOf(d.label), part: null })),
      ...live.map((part) => ({ id: part.id, raster: part.raster, color: colorOf(part.label), part })),
    ];
    for (const one of all) {
      const tinted = this.#tinted(one, opacity);
      if (one.part) one.part.box = NONE;
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

  #tinted({ id, raster, color, part }, opacity) {
    const known = this.known.get(id);
    const same = known && (known.raster === raster || known.raster === part?.base);
    if (same && known.tinted.color === color && known.tinted.opacity === opacity) {
      if (part) known.tinted.update(raster, part.box);
      known.raster = raster;
      return known.tinted;
    }
    const tinted = new Tinted(raster, color, opacity);
    this.known.set(id, { raster, tinted });
    return tinted;
  }
}
