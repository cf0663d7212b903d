/**
 * The film on its canvas. Only what is on the screen is turned from 16-bit values into gray, at the resolution of the
 * screen: from a pyramid of halved films where it is shown small. So a frame costs the screen's pixels, not the film's.
 */
import { halved } from "./view.js";

const MARGIN = 160; // pixels of a level rendered beyond the screen, so that panning seldom renders
const SHARP = 6; // device pixels a pixel: from here on pixels are shown as squares

export class Film {
  /** @param {HTMLCanvasElement} canvas @param {Uint16Array} pixels @param {{width: number, height: number}} size */
  constructor(canvas, pixels, { width, height }) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this.size = { width, height };
    this.levels = [{ data: pixels, width, height }];
    while (this.levels.at(-1).width > 300 || this.levels.at(-1).height > 300) this.levels.push(halved(this.levels.at(-1)));
    this.gray = document.createElement("canvas");
    this.grayContext = /** @type {CanvasRenderingContext2D} */ (this.gray.getContext("2d", { alpha: false }));
    /** @type {any} */
    this.shown = null;
  }

  /** @param {import("./view.js").View} view @param {Uint32Array} table @param {number} ratio device pixels a CSS pixel */
  draw(view, table, ratio) {
    const { context, canvas, size } = this;
    const scale = view.scale * ratio;
    const level = Math.min(this.levels.length - 1, Math.max(0, Math.round(Math.log2(1 / scale))));
    const box = this.#render(level, view, table, ratio);
    const step = 2 ** level;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, view.x * ratio, view.y * ratio);
    context.save();
    context.beginPath();
    context.rect(0, 0, size.width, size.height);
    context.clip();
    context.imageSmoothingEnabled = scale < SHARP;
    context.drawImage(this.gray, 0, 0, box.width, box.height, box.x * step, box.y * step, box.width * step, box.height * step);
    context.restore();
  }

  /** Makes sure that what is visible of a level is gray, and returns where it lies. */
  #render(level, view, table, ratio) {
    const source = this.levels[level];
    const need = this.#visible(source, level, view, ratio, 2);
    const has = this.shown;
    if (has && has.level === level && has.table === table && contains(has.box, need)) return has.box;
    const moving = has && has.table !== table; // a window being dragged: no margin, it is rendered again at once
    const box = moving ? need : this.#visible(source, level, view, ratio, MARGIN);
    this.#paint(source, box, table);
    this.shown = { level, table, box };
    return box;
  }

  #visible(source, level, view, ratio, margin) {
    const scale = view.scale * 2 ** level;
    const limit = (/** @type {number} */ value, /** @type {number} */ most) => Math.min(Math.max(value, 0), most);
    const x = limit(Math.floor(-view.x / scale) - margin, source.width - 1);
    const y = limit(Math.floor(-view.y / scale) - margin, source.height - 1);
    const right = limit(Math.ceil((this.canvas.width / ratio - view.x) / scale) + margin, source.width);
    const bottom = limit(Math.ceil((this.canvas.height / ratio - view.y) / scale) + margin, source.height);
    return { x, y, width: Math.max(1, right - x), height: Math.max(1, bottom - y) };
  }

  #paint(source, box, table) {
    const picture = this.#picture(box);
    const out = new Uint32Array(picture.data.buffer);
    for (let row = 0, at = 0; row < box.height; row++) {
      let from = (box.y + row) * source.width + box.x;
      for (const end = at + box.width; at < end; ) out[at++] = table[source.data[from++]];
    }
    this.grayContext.putImageData(picture, 0, 0);
  }

  /** A picture of the wanted extent, the last one if it fits. */
  #picture({ width, height }) {
    if (this.picture?.width === width && this.picture.height === height) return this.picture;
    if (this.gray.width < width || this.gray.height < height) {
      this.gray.width = Math.max(width, this.gray.width);
      this.gray.height = Math.max(height, this.gray.height);
    }
    this.picture = new ImageData(width, height);
    return this.picture;
  }

  /** A small gray picture of the whole film. @param {Uint32Array} table */
  still(table) {
    const level = this.levels.find(({ width, height }) => Math.max(width, height) <= 1200) ?? this.levels[0];
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [level.width, level.height];
    const gray = Uint32Array.from(level.data, (value) => table[value]);
    canvas.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(gray.buffer), level.width), 0, 0);
    return canvas;
  }

  /** The stored value at a point, or null beside the film. @param {import("./geometry.js").Point} p */
  valueAt([x, y]) {
    const { data, width, height } = this.levels[0];
    const [column, row] = [Math.floor(x), Math.floor(y)];
    return column >= 0 && row >= 0 && column < width && row < height ? data[row * width + column] : null;
  }
}

/** @param {any} outer @param {any} inner */
const contains = (outer, inner) =>
  outer.x <= inner.x && outer.y <= inner.y && outer.x + outer.width >= inner.x + inner.width && outer.y + outer.height >= inner.y + inner.height;
