import assert from "node:assert/strict";
import { test } from "node:test";
import { View, halved, histogram, lookup, percentile, presets, windowDragged } from "../../annotations/xai_bench_annotations/page/js/view.js";

const VALUES = { bits: 12, photometric: "MONOCHROME2", slope: 2, intercept: -100, window_center: null, window_width: null };
const SIZE = { width: 900, height: 2200 };
const BOX = { width: 800, height: 600 };
const gray = (entry) => entry & 0xff;

test("screen and image coordinates are inverse to each other", () => {
  const view = new View(0.37, 12.5, -8);
  const [x, y] = view.toImage(view.toScreen([123.25, 456.75]));
  assert.ok(Math.abs(x - 123.25) < 1e-9 && Math.abs(y - 456.75) < 1e-9);
});

test("zooming keeps what is under the pointer", () => {
  const view = View.fit(SIZE, BOX);
  const at = [410, 220];
  const under = view.toImage(at);
  const closer = view.zoomed(at, 3, SIZE, BOX);
  assert.ok(Math.hypot(closer.toImage(at)[0] - under[0], closer.toImage(at)[1] - under[1]) < 1e-9);
  assert.ok(Math.abs(closer.scale / view.scale - 3) < 1e-9);
});

test("fit shows the whole film in the middle, and panning never loses it", () => {
  const view = View.fit(SIZE, BOX);
  assert.ok(view.toScreen([0, 0])[1] >= 0 && view.toScreen([0, 2200])[1] <= 600);
  const far = view.panned(1e5, -1e5, SIZE, BOX);
  assert.ok(far.x <= BOX.width - 48 && far.y + SIZE.height * far.scale >= 48);
});

test("the table maps the window to black and white, on shown values", () => {
  const table = lookup({ center: 900, width: 400, invert: false }, VALUES);
  const stored = (shown) => (shown + 100) / 2;
  assert.equal(gray(table[stored(700)]), 0);
  assert.equal(gray(table[stored(1100)]), 255);
  assert.equal(gray(table[stored(900)]), 128);
  assert.equal(table[stored(900)] >>> 24, 255);
  assert.equal(gray(table[65535]), 255);
});

test("invert and MONOCHROME1 each turn it round, together not at all", () => {
  const window = { center: 900, width: 400, invert: false };
  const plain = lookup(window, VALUES);
  const negative = { ...VALUES, photometric: "MONOCHROME1" };
  for (const i of [0, 400, 450, 500, 600]) {
    assert.equal(gray(lookup({ ...window, invert: true }, VALUES)[i]), gray(lookup(window, negative)[i]));
    assert.equal(gray(lookup({ ...window, invert: true }, negative)[i]), gray(plain[i]));
  }
  assert.equal(gray(lookup(window, negative)[0]), 255);
});

test("percentiles are those of the sorted pixels", () => {
  const pixels = Uint16Array.from({ length: 1000 }, (_, i) => (i * 7919) % 4096);
  const sorted = [...pixels].sort((a, b) => a - b);
  const counts = histogram(pixels);
  for (const share of [0, 0.1, 0.5, 0.995]) assert.equal(percentile(counts, share), sorted[Math.floor(share * 1000)]);
  assert.equal(percentile(counts, 1), sorted[999]);
});

test("the film's own window comes first; a flat film has a window too", () => {
  const counts = histogram(Uint16Array.from([5, 5, 5]));
  const own = presets({ ...VALUES, window_center: 40, window_width: 80 }, counts)[0];
  assert.deepEqual([own.name, own.center, own.width], ["Film", 40, 80]);
  assert.ok(presets(VALUES, counts).every(({ width, center }) => width > 0 && Number.isFinite(center)));
});

test("dragging right widens, dragging up brightens, whichever way gray runs", () => {
  const window = { center: 2000, width: 1000, invert: false };
  assert.ok(windowDragged(window, 50, 0, 4000, VALUES).width > 1000);
  for (const invert of [false, true]) {
    const before = lookup({ ...window, invert }, VALUES)[1000];
    const after = lookup(windowDragged({ ...window, invert }, 0, -50, 4000, VALUES), VALUES)[1000];
    assert.ok(gray(after) > gray(before));
  }
});

test("halving averages four pixels and keeps odd borders", () => {
  const half = halved({ data: Uint16Array.from([10, 20, 50, 30, 40, 70]), width: 3, height: 2 });
  assert.deepEqual([half.width, half.height, ...half.data], [2, 1, 25, 60]);
  assert.deepEqual([...halved({ data: Uint16Array.from([65535, 65535, 65535, 65535]), width: 2, height: 2 }).data], [65535]);
});
