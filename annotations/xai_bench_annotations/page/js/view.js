/**
 * Where the film lies on the screen, and how its stored values become gray. Screen units are CSS pixels.
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {{width: number, height: number}} Size
 * @typedef {{center: number, width: number, invert: boolean}} Window center and width in shown values (slope, intercept applied)
 * @typedef {{bits: number, photometric: string, slope: number, intercept: number, window_center: number | null, window_width: number | null}} Values
 */

const CLOSEST = 64; // CSS pixels that a pixel may fill
const VISIBLE = 48; // CSS pixels of the film that always stay on the screen

export class View {
  constructor(/** @type {number} */ scale, /** @type {number} */ x, /** @type {number} */ y) {
    [this.scale, this.x, this.y] = [scale, x, y];
  }

  /** The whole film in the middle of the screen. @param {Size} size @param {Size} box @param {number} [margin] */
  static fit(size, box, margin = 16) {
    const scale = Math.max(0.01, Math.min((box.width - 2 * margin) / size.width, (box.height - 2 * margin) / size.height));
    return new View(scale, (box.width - size.width * scale) / 2, (box.height - size.height * scale) / 2);
  }

  /** @param {Point} p @returns {Point} */
  toImage([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  /** @param {Point} p @returns {Point} */
  toScreen([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  /** Zoomed so that what lies at a point of the screen stays there. @param {Point} at @param {number} factor @param {Size} size @param {Size} box */
  zoomed(at, factor, size, box) {
    const least = Math.min(View.fit(size, box).scale / 2, 1);
    const scale = Math.min(CLOSEST, Math.max(least, this.scale * factor));
    const [x, y] = this.toImage(at);
    return new View(scale, at[0] - x * scale, at[1] - y * scale).kept(size, box);
  }

  /** @param {number} dx @param {number} dy @param {Size} size @param {Size} box */
  panned(dx, dy, size, box) {
    return new View(this.scale, this.x + dx, this.y + dy).kept(size, box);
  }

  /** Moved back as far as is needed to keep some of the film on the screen. @param {Size} size @param {Size} box */
  kept(size, box) {
    const keep = (/** @type {number} */ at, /** @type {number} */ length, /** @type {number} */ room) => {
      const least = Math.min(VISIBLE, length, room);
      return Math.min(Math.max(at, least - length), room - least);
    };
    return new View(this.scale, keep(this.x, size.width * this.scale, box.width), keep(this.y, size.height * this.scale, box.height));
  }
}

/** How many pixels have each of the 65,536 values. @param {Uint16Array} pixels */
export function histogram(pixels) {
  const counts = new Uint32Array(65536);
  for (let i = 0; i < pixels.length; i++) counts[pixels[i]]++;
  return counts;
}

/** The stored value below which a share of the pixels lies. @param {Uint32Array} counts @param {number} share 0 to 1 */
export function percentile(counts, share) {
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i];
  let before = Math.min(Math.floor(share * total), total - 1); // pixels that are darker
  let value = 0;
  while (before >= counts[value]) before -= counts[value++];
  return value;
}

/** The window from one stored value to another. @param {number} low @param {number} high @param {Values} values */
function windowBetween(low, high, values) {
  const [a, b] = [low, high].map((stored) => stored * values.slope + values.intercept);
  return { center: (a + b) / 2, width: Math.max(Math.abs(b - a), Math.abs(values.slope)) };
}

/**
 * Windows to choose from, the film's own first if it has one.
 * @param {Values} values @param {Uint32Array} counts
 */
export function presets(values, counts) {
  const share = (/** @type {number} */ low, /** @type {number} */ high) => windowBetween(percentile(counts, low), percentile(counts, high), values);
  const all = [
    { name: "Auto", ...share(0.005, 0.995) },
    { name: "Bone", ...share(0.4, 0.999) },
    { name: "Soft tissue", ...share(0.02, 0.75) },
    { name: "Full range", ...share(0, 1) },
  ];
  if (values.window_center === null || !values.window_width) return all;
  return [{ name: "Film", center: values.window_center, width: values.window_width }, ...all];
}

/** The gray of every stored value, as little-endian RGBA. @param {Window} window @param {Values} values */
export function lookup(window, values) {
  const table = new Uint32Array(65536);
  const dark = window.invert !== (values.photometric === "MONOCHROME1");
  const low = window.center - window.width / 2;
  for (let i = 0; i < 65536; i++) {
    const share = (i * values.slope + values.intercept - low) / window.width;
    const light = Math.round(255 * Math.min(1, Math.max(0, dark ? 1 - share : share)));
    table[i] = (0xff000000 | (light << 16) | (light << 8) | light) >>> 0;
  }
  return table;
}

/** The window after a drag: right widens, up brightens. `range` is the spread of the film's shown values. */
export function windowDragged(/** @type {Window} */ window, /** @type {number} */ dx, /** @type {number} */ dy, /** @type {number} */ range, /** @type {Values} */ values) {
  const bright = window.invert !== (values.photometric === "MONOCHROME1") ? -1 : 1;
  const width = Math.min(Math.max(window.width + (dx * range) / 600, range / 1000), range * 4);
  return { ...window, width, center: window.center + (bright * dy * range) / 900 };
}

/** Half as many columns and rows, each the mean of four pixels. @param {{data: Uint16Array, width: number, height: number}} level */
export function halved({ data, width, height }) {
  const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const half = new Uint16Array(w * h);
  for (let row = 0; row < h; row++) {
    const above = 2 * row * width;
    const below = Math.min(2 * row + 1, height - 1) * width;
    for (let column = 0; column < w; column++) {
      const [left, right] = [2 * column, Math.min(2 * column + 1, width - 1)];
      half[row * w + column] = (data[above + left] + data[above + right] + data[below + left] + data[below + right] + 2) >> 2;
    }
  }
  return { data: half, width: w, height: h };
}
