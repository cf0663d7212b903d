/**
 * Painted areas in image pixels. A Raster is the part of the image that has paint; it grows as it is painted.
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {import("./geometry.js").Mask} Mask
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 */
import { boxOf } from "./geometry.js";

const ROOM = 128; // pixels by which a raster grows beyond what is asked. With 256 Chromium drew its canvas five times slower

/** The box around two boxes; one without extent counts for nothing. @param {Box} a @param {Box} b @returns {Box} */
export function union(a, b) {
  if (!a.width || !a.height) return b;
  if (!b.width || !b.height) return a;
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return { x, y, width: Math.max(a.x + a.width, b.x + b.width) - x, height: Math.max(a.y + a.height, b.y + b.height) - y };
}

/** The part of a box within another one. @param {Box} a @param {Box} b @returns {Box} */
export function common(a, b) {
  const [x, y] = [Math.max(a.x, b.x), Math.max(a.y, b.y)];
  const [right, bottom] = [Math.min(a.x + a.width, b.x + b.width), Math.min(a.y + a.height, b.y + b.height)];
  return { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) };
}

/** The pixels that a disc may touch on its way from `a` to `b`. @param {Point} a @param {Point} b @param {number} radius */
export function reach(a, b, radius) {
  const [x, y] = [Math.floor(Math.min(a[0], b[0]) - radius), Math.floor(Math.min(a[1], b[1]) - radius)];
  const [right, bottom] = [Math.ceil(Math.max(a[0], b[0]) + radius), Math.ceil(Math.max(a[1], b[1]) + radius)];
  return { x, y, width: right - x, height: bottom - y };
}

export class Raster {
  /** @param {number} x @param {number} y @param {number} width @param {number} height @param {Uint8Array} [data] */
  constructor(x, y, width, height, data) {
    [this.x, this.y, this.width, this.height] = [x, y, width, height];
    this.data = data ?? new Uint8Array(width * height);
  }

  /** A painted area from its run lengths. @param {Mask} mask */
  static decoded(mask) {
    const box = boxOfMask(mask);
    const raster = new Raster(box.x, box.y, box.width, box.height);
    eachRun(mask, (column, top, bottom) => {
      const at = column - box.x;
      for (let row = top - box.y; row < bottom - box.y; row++) raster.data[row * box.width + at] = 1;
    });
    return raster;
  }

  /** The pixels whose centers lie within rings, by the even-odd rule. @param {Point[][]} rings @param {{width: number, height: number}} size */
  static filled(rings, size) {
    const round = boxOf(rings.flat());
    const box = common(reach([round.x, round.y], [round.x + round.width, round.y + round.height], 0), { x: 0, y: 0, ...size });
    const raster = new Raster(box.x, box.y, box.width, box.height);
    for (let row = 0; row < box.height; row++) {
      const cuts = crossings(rings, box.y + row + 0.5);
      for (let i = 0; i + 1 < cuts.length; i += 2) {
        const [first, last] = [cuts[i], cuts[i + 1]].map((x) => Math.min(Math.max(Math.ceil(x - 0.5) - box.x, 0), box.width));
        raster.data.fill(1, row * box.width + first, row * box.width + last);
      }
    }
    return raster;
  }

  copy() {
    return new Raster(this.x, this.y, this.width, this.height, this.data.slice());
  }

  /** Whether a point lies on paint. @param {Point} p */
  has([x, y]) {
    const [column, row] = [Math.floor(x) - this.x, Math.floor(y) - this.y];
    return column >= 0 && row >= 0 && column < this.width && row < this.height && this.data[row * this.width + column] === 1;
  }

  /** How many pixels are painted. */
  count() {
    let sum = 0;
    for (let i = 0; i < this.data.length; i++) sum += this.data[i];
    return sum;
  }

  /** Makes room for a box, within an image. @param {Box} box @param {{width: number, height: number}} size */
  cover(box, size) {
    const needed = common(box, { x: 0, y: 0, ...size });
    if (common(needed, this).width === needed.width && common(needed, this).height === needed.height) return;
    const wide = { x: needed.x - ROOM, y: needed.y - ROOM, width: needed.width + 2 * ROOM, height: needed.height + 2 * ROOM };
    const all = union(this, common(wide, { x: 0, y: 0, ...size }));
    const data = new Uint8Array(all.width * all.height);
    for (let row = 0; row < this.height; row++) {
      const from = this.data.subarray(row * this.width, (row + 1) * this.width);
      data.set(from, (row + this.y - all.y) * all.width + this.x - all.x);
    }
    Object.assign(this, all, { data });
  }

  /**
   * Sets the pixels whose centers a disc covers on its way from `a` to `b`, and the pixel it ends in.
   * @param {Point} a @param {Point} b @param {number} radius @param {0 | 1} value @returns {Box} what may have changed
   */
  paint(a, b, radius, value) {
    const box = common(reach(a, b, Math.max(radius, 1)), this);
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    const length = dx * dx + dy * dy || 1;
    for (let row = box.y; row < box.y + box.height; row++) {
      const py = row + 0.5 - a[1];
      for (let column = box.x, at = (row - this.y) * this.width + box.x - this.x; column < box.x + box.width; column++, at++) {
        const px = column + 0.5 - a[0];
        const t = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
        const [ox, oy] = [px - t * dx, py - t * dy];
        if (ox * ox + oy * oy <= radius * radius) this.data[at] = value;
      }
    }
    const [column, row] = [Math.floor(b[0]) - this.x, Math.floor(b[1]) - this.y];
    if (column >= 0 && row >= 0 && column < this.width && row < this.height) this.data[row * this.width + column] = value;
    return box;
  }

  /** As run lengths, column after column, over the whole image. @param {{width: number, height: number}} size @returns {Mask} */
  encoded(size) {
    /** @type {number[]} where paint begins and ends, counted column after column */
    const ends = [];
    this.#cuts().forEach((cuts, column) => {
      for (const cut of cuts) {
        const at = (this.x + column) * size.height + cut;
        if (at === ends.at(-1)) ends.pop(); // paint goes on from the foot of a column to the head of the next
        else ends.push(at);
      }
    });
    const counts = ends.map((at, i) => at - (i ? ends[i - 1] : 0));
    const rest = size.width * size.height - (ends.at(-1) ?? 0);
    if (rest) counts.push(rest);
    return { kind: "mask", size: [size.height, size.width], counts };
  }

  /** For every column the rows where paint begins and ends. Row after row, as the pixels lie in memory. */
  #cuts() {
    const { data, width, height } = this;
    const cuts = Array.from({ length: width }, () => /** @type {number[]} */ ([]));
    for (let row = 0; row <= height; row++) {
      for (let column = 0, at = row * width; column < width; column++, at++) {
        const here = row < height ? data[at] : 0;
        if (here !== (row ? data[at - width] : 0)) cuts[column].push(this.y + row);
      }
    }
    return cuts;
  }
}

/** Calls `each` with (column, first row, row after the last) for the painted pixels of every column. */
function eachRun(/** @type {Mask} */ mask, /** @type {(column: number, top: number, bottom: number) => void} */ each) {
  const rows = mask.size[0];
  let at = 0;
  mask.counts.forEach((length, i) => {
    for (let from = at, end = at + length; i % 2 && from < end; ) {
      const column = Math.floor(from / rows);
      const stop = Math.min(end, (column + 1) * rows);
      each(column, from - column * rows, stop - column * rows);
      from = stop;
    }
    at += length;
  });
}

/** The box around what is painted. @param {Mask} mask @returns {Box} */
export function boxOfMask(mask) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, 0, 0];
  eachRun(mask, (column, top, bottom) => {
    [x0, y0] = [Math.min(x0, column), Math.min(y0, top)];
    [x1, y1] = [Math.max(x1, column + 1), Math.max(y1, bottom)];
  });
  return x1 ? { x: x0, y: y0, width: x1 - x0, height: y1 - y0 } : { x: 0, y: 0, width: 0, height: 0 };
}

/** Where rings cross a horizontal line, from left to right. @param {Point[][]} rings @param {number} y */
function crossings(rings, y) {
  const cuts = [];
  for (const ring of rings) {
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [[x1, y1], [x2, y2]] = [ring[j], ring[i]];
      if (y1 <= y !== y2 <= y) cuts.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
    }
  }
  return cuts.sort((p, q) => p - q);
}
