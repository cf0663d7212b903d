import assert from "node:assert/strict";
import { test } from "node:test";
import { Raster } from "../../annotations/xai_bench_annotations/page/js/mask.js";

const SIZE = { width: 23, height: 17 };

/** A repeatable random number. */
function random(seed) {
  return () => ((seed = (seed * 16807) % 2147483647) - 1) / 2147483646;
}

/** All pixels, by the definition. */
function plainRuns(inside) {
  const counts = [];
  let [value, run] = [0, 0];
  for (let column = 0; column < SIZE.width; column++) {
    for (let row = 0; row < SIZE.height; row++) {
      const next = inside(column, row) ? 1 : 0;
      if (next !== value) [counts[counts.length], value, run] = [run, next, 0];
      run++;
    }
  }
  return [...counts, run];
}

test("run lengths are COCO's, and come back the same", () => {
  const next = random(7);
  for (let trial = 0; trial < 200; trial++) {
    const density = next();
    const pixels = Array.from({ length: SIZE.width * SIZE.height }, () => next() < density);
    const inside = (column, row) => pixels[row * SIZE.width + column];
    const counts = plainRuns(inside);
    const raster = Raster.decoded({ kind: "mask", size: [SIZE.height, SIZE.width], counts });
    assert.deepEqual(raster.encoded(SIZE), { kind: "mask", size: [SIZE.height, SIZE.width], counts });
    assert.equal(raster.count(), pixels.filter(Boolean).length);
  }
});

test("empty and full masks", () => {
  const all = SIZE.width * SIZE.height;
  for (const counts of [[all], [0, all]]) {
    const raster = Raster.decoded({ kind: "mask", size: [SIZE.height, SIZE.width], counts });
    assert.deepEqual(raster.encoded(SIZE).counts, counts);
  }
});

test("a polygon covers the pixels whose centers lie in it", () => {
  const ring = [[2.2, 1.1], [20.7, 3.9], [11.4, 15.3], [5.5, 9.5]]; // prettier-ignore
  const hole = [[8, 4], [12, 4], [12, 8], [8, 8]]; // prettier-ignore
  const crosses = (points, x, y) => points.filter(([x1, y1], i) => {
    const [x2, y2] = points[(i + 1) % points.length];
    return y1 <= y !== y2 <= y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1);
  }).length; // prettier-ignore
  const inside = (column, row) => (crosses(ring, column + 0.5, row + 0.5) + crosses(hole, column + 0.5, row + 0.5)) % 2;
  assert.deepEqual(Raster.filled([ring, hole], SIZE).encoded(SIZE).counts, plainRuns(inside));
});

test("a rectangle along pixel borders covers exactly its pixels", () => {
  const raster = Raster.filled([[[3, 2], [9, 2], [9, 7], [3, 7]]], SIZE); // prettier-ignore
  assert.equal(raster.count(), 30);
  assert.ok(raster.has([3, 2]) && raster.has([8.9, 6.9]) && !raster.has([9, 6]) && !raster.has([2.9, 3]));
});

test("a polygon beyond the image is cut at its border", () => {
  const raster = Raster.filled([[[-50, -50], [50, -50], [50, 50], [-50, 50]]], SIZE); // prettier-ignore
  assert.equal(raster.count(), SIZE.width * SIZE.height);
});

test("a stroke paints the pixels whose centers are near it, and growing loses nothing", () => {
  const [a, b, radius] = [[2.3, 3.1], [19.2, 12.7], 2.6]; // prettier-ignore
  const near = (column, row) => {
    const [px, py] = [column + 0.5, row + 0.5];
    const t = Math.min(1, Math.max(0, ((px - a[0]) * (b[0] - a[0]) + (py - a[1]) * (b[1] - a[1])) / ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2)));
    return Math.hypot(px - a[0] - t * (b[0] - a[0]), py - a[1] - t * (b[1] - a[1])) <= radius;
  };
  const raster = new Raster(0, 0, 0, 0);
  for (let i = 0; i < 40; i++) {
    const [from, to] = [i, i + 1].map((k) => [a[0] + ((b[0] - a[0]) * k) / 40, a[1] + ((b[1] - a[1]) * k) / 40]);
    raster.cover({ x: 0, y: 0, ...SIZE }, SIZE);
    raster.paint(from, to, radius, 1);
  }
  assert.deepEqual(raster.encoded(SIZE).counts, plainRuns(near));
  raster.paint(a, b, radius, 0);
  assert.equal(raster.count(), 0);
});

test("growing keeps what is painted where it is", () => {
  const size = { width: 3000, height: 2000 };
  const raster = new Raster(0, 0, 0, 0);
  raster.cover({ x: 1500, y: 900, width: 10, height: 10 }, size);
  raster.paint([1505, 905], [1505, 905], 4, 1);
  const before = raster.encoded(size);
  const { data } = raster;
  raster.cover({ x: 1500, y: 900, width: 10, height: 10 }, size);
  assert.equal(raster.data, data, "there is room already");
  raster.cover({ x: 20, y: 1900, width: 5, height: 5 }, size);
  assert.notEqual(raster.data, data);
  assert.deepEqual(raster.encoded(size), before);
});

test("a brush smaller than a pixel paints the pixel it is in", () => {
  const raster = new Raster(0, 0, 5, 5);
  raster.paint([2.1, 3.9], [2.1, 3.9], 0.1, 1);
  assert.ok(raster.has([2.1, 3.9]) && raster.count() === 1);
});
