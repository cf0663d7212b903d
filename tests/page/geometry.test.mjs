import assert from "node:assert/strict";
import { test } from "node:test";
import { cobbAngle, dragged, handles, inserted, moved, points, ringArea, simplified, without } from "../../annotations/xai_bench_annotations/page/js/geometry.js";

const SQUARE = { kind: "polygon", exterior: [[0, 0], [10, 0], [10, 10], [0, 10]], holes: [[[2, 2], [4, 2], [3, 4]]] }; // prettier-ignore
const RECTANGLE = { kind: "rectangle", x: 10, y: 20, width: 30, height: 40 };
const COBB = { kind: "cobb", upper: [[0, 0], [10, 0]], lower: [[0, 20], [10, 30]] }; // prettier-ignore

test("the Cobb angle is acute, whichever way the lines were drawn", () => {
  for (const lower of [COBB.lower, COBB.lower.toReversed()]) assert.ok(Math.abs(cobbAngle(COBB.upper, lower) - 45) < 1e-9);
  assert.equal(cobbAngle(COBB.upper, COBB.upper), 0);
  assert.ok(Math.abs(cobbAngle([[0, 0], [0, 5]], COBB.upper) - 90) < 1e-9); // prettier-ignore
});

test("simplifying leaves no point further away than the tolerance", () => {
  const circle = Array.from({ length: 500 }, (_, i) => [100 * Math.cos(i / 80), 100 * Math.sin(i / 80)]);
  const few = simplified(circle, 0.5);
  assert.ok(few.length < 80 && few.length > 10);
  const off = (p) => Math.min(...few.slice(1).map((b, i) => segment(p, few[i], b)));
  assert.ok(Math.max(...circle.map(off)) <= 0.5);
});

function segment([x, y], [ax, ay], [bx, by]) {
  const t = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)));
  return Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay));
}

test("every handle goes where it is dragged, and nothing else moves", () => {
  const cases = [SQUARE, COBB, { kind: "landmark", at: [3, 4] }];
  for (const geometry of cases) {
    for (const { key, at, middle } of handles(geometry)) {
      if (middle) continue;
      const after = dragged(geometry, key, [at[0] + 1, at[1] + 2]);
      const changed = points(after).filter((p, i) => String(p) !== String(points(geometry)[i]));
      assert.deepEqual(changed, [[at[0] + 1, at[1] + 2]]);
    }
  }
});

test("a rectangle's corners and sides resize it, also across the opposite one", () => {
  assert.deepEqual(dragged(RECTANGLE, "corner:0", [0, 0]), { kind: "rectangle", x: 0, y: 0, width: 40, height: 60 });
  assert.deepEqual(dragged(RECTANGLE, "corner:0", [60, 70]), { kind: "rectangle", x: 40, y: 60, width: 20, height: 10 });
  assert.deepEqual(dragged(RECTANGLE, "side:1", [55, 0]), { ...RECTANGLE, width: 45 });
  assert.deepEqual(dragged(RECTANGLE, "side:2", [0, 70]), { ...RECTANGLE, height: 50 });
  assert.deepEqual(dragged(RECTANGLE, "side:3", [40, 0]), RECTANGLE, "no rectangle without extent");
});

test("a vertex is put into its edge, and taken out again", () => {
  for (const { key, at } of handles(SQUARE).filter(({ middle }) => middle)) {
    const { geometry, key: vertex } = inserted(SQUARE, key, at);
    assert.equal(points(geometry).length, points(SQUARE).length + 1);
    assert.deepEqual(handles(geometry).find((handle) => handle.key === vertex).at, at);
    assert.deepEqual(without(geometry, vertex), SQUARE);
  }
});

test("three points are the least; a hole of three goes whole", () => {
  const triangle = { ...SQUARE, exterior: SQUARE.exterior.slice(0, 3) };
  assert.equal(without(triangle, "ring:0:1"), null);
  assert.deepEqual(without(SQUARE, "ring:1:0").holes, []);
});

test("moving stays within the image", () => {
  const size = { width: 100, height: 100 };
  assert.deepEqual(moved(RECTANGLE, 500, -500, size), { ...RECTANGLE, x: 70, y: 0 });
  assert.deepEqual(moved(SQUARE, 1, 2, size).holes[0][0], [3, 4]);
});

test("area", () => assert.equal(ringArea(SQUARE.exterior), 100));
