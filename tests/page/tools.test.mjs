import assert from "node:assert/strict";
import { test } from "node:test";
import { Raster } from "../../annotations/xai_bench_annotations/page/js/mask.js";
import { Store } from "../../annotations/xai_bench_annotations/page/js/store.js";
import { BrushTool } from "../../annotations/xai_bench_annotations/page/js/tools/brush.js";
import { CobbTool } from "../../annotations/xai_bench_annotations/page/js/tools/cobb.js";
import { EraserTool } from "../../annotations/xai_bench_annotations/page/js/tools/eraser.js";
import { FreehandTool } from "../../annotations/xai_bench_annotations/page/js/tools/freehand.js";
import { LandmarkTool } from "../../annotations/xai_bench_annotations/page/js/tools/landmark.js";
import { PolygonTool } from "../../annotations/xai_bench_annotations/page/js/tools/polygon.js";
import { RectangleTool } from "../../annotations/xai_bench_annotations/page/js/tools/rectangle.js";

const HOW = { alt: false, touch: false };

/** As much of a desk as tools need. */
function desk(scale = 1) {
  const store = new Store();
  const size = { width: 200, height: 300 };
  const said = [];
  return {
    store, size, said, view: { scale }, label: "apex", radius: 5,
    rasters: { get: (mask) => Raster.decoded(mask), remember: () => {} },
    clamped: ([x, y]) => [Math.min(Math.max(x, 0), 200), Math.min(Math.max(y, 0), 300)],
    say: (text) => said.push(text),
    painting(parts) {
      this.live = parts ?? [];
    },
    add: (geometry, id = `d${store.drawings.size}`) => store.run("draw", [[id, { id, label: "apex", geometry }]]),
    change: (name, all) => store.run(name, all.map(([id, geometry]) => [id, geometry && { ...store.get(id), geometry }])),
  }; // prettier-ignore
}

const click = (tool, ...all) => all.forEach((p) => (tool.down(p, HOW), tool.up(p, HOW)));
const drag = (tool, ...all) => (tool.down(all[0], HOW), all.slice(1).forEach((p) => tool.move(p, HOW)), tool.up(all.at(-1), HOW));
const only = (at) => (assert.equal(at.store.all().length, 1), at.store.all()[0].geometry);
const CORNERS = [[10, 10], [60, 12], [55, 70], [8, 50]]; // prettier-ignore

test("polygon: by the first point, by Enter, by a double click", () => {
  for (const close of [(tool) => click(tool, [13, 13]), (tool) => tool.finish(), (tool) => (click(tool, CORNERS.at(-1)), tool.finish())]) {
    const at = desk();
    const tool = new PolygonTool(at);
    click(tool, ...CORNERS);
    close(tool);
    assert.deepEqual(only(at), { kind: "polygon", exterior: CORNERS, holes: [] });
    assert.equal(tool.busy, false);
  }
});

test("polygon: Backspace takes back a point, Escape all of them, two points are none", () => {
  const at = desk();
  const tool = new PolygonTool(at);
  click(tool, ...CORNERS, [100, 100]);
  assert.ok(tool.back());
  tool.finish();
  assert.deepEqual(only(at).exterior, CORNERS);
  click(tool, [1, 1], [50, 50]);
  tool.finish();
  assert.ok(tool.busy && at.said.length === 1);
  tool.cancel();
  assert.ok(!tool.busy && at.store.all().length === 1 && !tool.back());
});

test("polygon: the first point closes at the same distance on the screen at every zoom", () => {
  for (const scale of [0.25, 1, 8]) {
    const at = desk(scale);
    const tool = new PolygonTool(at);
    const corners = CORNERS.map(([x, y]) => [x * 2, y * 2]);
    click(tool, ...corners, [20 + 8 / scale, 20]);
    assert.equal(at.store.all().length, 1, String(scale));
  }
});

test("points beside the film are put on its border", () => {
  const at = desk();
  const tool = new PolygonTool(at);
  click(tool, [-50, 10], [500, 10], [100, 900]);
  tool.finish();
  assert.deepEqual(only(at).exterior, [[0, 10], [200, 10], [100, 300]]); // prettier-ignore
});

test("freehand: a stroke is a ring near what was drawn; a click is none", () => {
  const at = desk();
  const tool = new FreehandTool(at);
  const circle = Array.from({ length: 300 }, (_, i) => [100 + 50 * Math.cos((i / 300) * 2 * Math.PI), 100 + 50 * Math.sin((i / 300) * 2 * Math.PI)]);
  drag(tool, ...circle);
  const { exterior } = only(at);
  assert.ok(exterior.length < 80);
  const drawn = Raster.filled([exterior], at.size);
  assert.ok(Math.abs(drawn.count() / (Math.PI * 2500) - 1) < 0.01);
  click(tool, [10, 10]);
  assert.equal(at.store.all().length, 1);
});

test("rectangle: by a drag in any direction, or by two clicks", () => {
  const want = { kind: "rectangle", x: 20, y: 30, width: 50, height: 60 };
  for (const act of [(t) => drag(t, [70, 30], [40, 60], [20, 90]), (t) => click(t, [20, 30], [70, 90])]) {
    const at = desk();
    act(new RectangleTool(at));
    assert.deepEqual(only(at), want);
  }
});

test("landmark", () => {
  const at = desk();
  click(new LandmarkTool(at), [12.5, 40.25]);
  assert.deepEqual(only(at), { kind: "landmark", at: [12.5, 40.25] });
});

test("Cobb: by drags or clicks, upper line first whichever was drawn first, angle while drawing", () => {
  const [upper, lower] = [[[20, 50], [80, 50]], [[20, 150], [80, 210]]]; // prettier-ignore
  for (const act of [(t) => (drag(t, ...lower), drag(t, ...upper)), (t) => click(t, ...upper, ...lower)]) {
    const at = desk();
    act(new CobbTool(at));
    assert.deepEqual(only(at), { kind: "cobb", upper, lower });
  }
  const tool = new CobbTool(desk());
  drag(tool, ...upper);
  tool.down(lower[0], HOW);
  tool.move(lower[1], HOW);
  assert.ok(Math.abs(tool.draft.angle - 45) < 1e-9);
});

test("brush: strokes of one label are one area; the eraser takes from it", () => {
  const at = desk();
  const brush = new BrushTool(at);
  drag(brush, [20, 20], [60, 20]);
  drag(brush, [20, 40], [60, 40]);
  const both = Raster.decoded(only(at));
  assert.ok(both.has([40, 20]) && both.has([40, 40]) && !both.has([40, 30]));
  const eraser = new EraserTool(at);
  drag(eraser, [10, 20], [70, 20]);
  const left = Raster.decoded(only(at));
  assert.ok(!left.has([40, 20]) && left.has([40, 40]));
  drag(eraser, [10, 40], [70, 40]);
  assert.deepEqual(at.store.all(), [], "what is erased whole is deleted");
  at.store.undo();
  assert.equal(Raster.decoded(only(at)).count(), left.count());
});

test("the eraser bites into polygons of the label, and leaves others and what it does not touch", () => {
  const at = desk();
  const tool = new RectangleTool(at);
  drag(tool, [20, 20], [60, 60]);
  drag(tool, [120, 120], [160, 160]);
  at.store.run("other", [["other", { id: "other", label: "column", geometry: { kind: "rectangle", x: 20, y: 20, width: 40, height: 40 } }]]);
  drag(new EraserTool(at), [20, 20], [60, 20]);
  const [first, second, other] = at.store.all().map(({ geometry }) => geometry);
  assert.deepEqual([first.kind, second.kind, other.kind], ["mask", "rectangle", "rectangle"]);
  assert.equal(Raster.decoded(first).count(), 1600 - 200);
});

test("what is painted between two frames is all in the box that the next one draws", () => {
  for (const [Kind, first] of [[BrushTool, false], [EraserTool, true]]) {
    const at = desk();
    if (first) drag(new RectangleTool(at), [0, 0], [150, 150]);
    const tool = new Kind(at);
    tool.down([20, 20], HOW);
    for (const x of [50, 80, 110]) tool.move([x, 20], HOW);
    const [{ box }] = at.live;
    assert.ok(box.x <= 15 && box.y <= 15 && box.x + box.width >= 115 && box.y + box.height >= 25, JSON.stringify(box));
    tool.cancel();
    assert.ok(!tool.busy && at.live.length === 0);
  }
});
