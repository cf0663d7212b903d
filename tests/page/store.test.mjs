import assert from "node:assert/strict";
import { test } from "node:test";
import { Store, newId } from "../../annotations/xai_bench_annotations/page/js/store.js";

const drawing = (id, label = "apex", x = 0) => ({ id, label, geometry: { kind: "landmark", at: [x, 0] }, confidence: null, note: "", view_state: {} });

test("every command can be undone and done again, to the same objects", () => {
  const store = new Store();
  const states = [];
  const look = () => states.push([store.all().map((d) => d), store.nothing]);
  const commands = [
    () => store.run("draw", [["a", drawing("a")]]),
    () => store.run("draw", [["b", drawing("b", "column")]]),
    () => store.run("move", [["a", drawing("a", "apex", 9)]]),
    () => store.run("relabel", [["a", drawing("a", "column", 9)]]),
    () => store.run("nothing", [], { nothing: ["apex"] }),
    () => store.run("delete both", [["a", null], ["b", null]]), // prettier-ignore
    () => store.run("draw again", [["c", drawing("c")]]),
  ];
  look();
  for (const command of commands) (command(), look());
  const sorted = ([all, nothing]) => JSON.stringify([[...all].sort((p, q) => (p.id < q.id ? -1 : 1)), nothing]);
  for (let i = commands.length - 1; i >= 0; i--) {
    assert.ok(store.undo());
    assert.equal(sorted([store.all(), store.nothing]), sorted(states[i]));
  }
  assert.equal(store.undo(), null);
  for (let i = 1; i <= commands.length; i++) {
    assert.ok(store.redo());
    assert.equal(sorted([store.all(), store.nothing]), sorted(states[i]));
  }
  assert.equal(store.redo(), null);
});

test("an undone drawing that is done again is the same object: it needs no saving if it was saved", () => {
  const store = new Store();
  const first = drawing("a");
  store.run("draw", [["a", first]]);
  store.undo();
  store.redo();
  assert.equal(store.get("a"), first);
});

test("a new command forgets what was undone", () => {
  const store = new Store();
  store.run("draw", [["a", drawing("a")]]);
  store.undo();
  store.run("draw", [["b", drawing("b")]]);
  assert.equal(store.redo(), null);
  assert.equal(store.get("a"), null);
});

test("drawing a label takes back its “nothing to mark”, and undo brings it back", () => {
  const store = new Store([], ["apex", "column"]);
  store.run("draw", [["a", drawing("a", "apex")]]);
  assert.deepEqual(store.nothing, ["column"]);
  store.undo();
  assert.deepEqual(store.nothing, ["apex", "column"]);
});

test("typing a note is one step", () => {
  const store = new Store([drawing("a")]);
  for (const note of ["b", "bo", "bone"]) store.run("note", [["a", { ...drawing("a"), note }]], { joins: "note a" });
  store.undo();
  assert.equal(store.get("a").note, "");
  store.redo();
  assert.equal(store.get("a").note, "bone");
});

test("ids are 32 hexadecimal digits and differ", () => {
  const ids = new Set(Array.from({ length: 100 }, newId));
  assert.equal(ids.size, 100);
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
});
