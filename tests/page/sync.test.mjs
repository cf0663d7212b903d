import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused, Unreachable } from "../../annotations/xai_bench_annotations/page/js/api.js";
import { MemoryQueue } from "../../annotations/xai_bench_annotations/page/js/queue.js";
import { Store } from "../../annotations/xai_bench_annotations/page/js/store.js";
import { Sync, sendLeftovers, standing } from "../../annotations/xai_bench_annotations/page/js/sync.js";

const drawing = (id, x = 0) => ({ id, label: "apex", geometry: { kind: "landmark", at: [x, 0] }, confidence: null, note: "", view_state: {} });

/** The server's rules for one reading, with a network that can be cut before or after the server hears. */
class Server {
  rows = new Map();
  nothing = [];
  cut = null; // "before" | "after"
  calls = [];
  open = 0;

  async call(method, path, body, headers = {}) {
    this.calls.push(`${method} ${path}`);
    assert.equal(this.open++, 0, "two requests at once");
    await new Promise((resolve) => setImmediate(resolve));
    this.open--;
    if (this.cut === "before") throw new Unreachable("cut");
    const answer = this.answer(method, path, body, Number(headers["If-Match"]));
    if (this.cut === "after") throw new Unreachable("cut");
    return answer;
  }

  answer(method, path, body, rev) {
    if (method === "PATCH") return { nothing_in: (this.nothing = body.nothing_in) };
    if (method === "POST" && body.changes.length > 500) throw new Refused(422, { error: "more than 500 changes" });
    if (method === "POST") return { changes: body.changes.map((change) => this.change(change)) };
    const id = path.split("/").at(-1);
    const row = this.rows.get(id);
    const said = row && JSON.stringify([row.label, row.geometry, row.note]);
    if (method === "PUT" && row && !row.deleted && row.rev === rev + 1 && said === JSON.stringify([body.label, body.geometry, body.note])) return row;
    if (method === "DELETE" && row?.deleted) return row;
    if ((row?.rev ?? 0) !== rev) throw new Refused(409, { error: "stale", current: row ?? null });
    if (body?.note === "refuse me") throw new Refused(422, { error: "this note cannot be used" });
    const next = method === "PUT" ? { ...body, id, deleted: false } : { ...row, deleted: true };
    this.rows.set(id, { ...next, rev: rev + 1, updated: "2026-01-01T00:00:00Z" });
    return this.rows.get(id);
  }

  change({ op, id, rev, ...body }) {
    try {
      return { id, status: 200, annotation: this.answer(op === "put" ? "PUT" : "DELETE", `/annotations/${id}`, body, rev) };
    } catch (error) {
      return { id, status: error.status };
    }
  }
}

function desk(server, queue = new MemoryQueue()) {
  const rows = [...server.rows.values()].map((row) => structuredClone(row));
  const store = new Store(rows.map(standing).filter(Boolean), server.nothing);
  const sync = new Sync({ api: server, queue, store, assignment: { id: "reading", nothing_in: server.nothing }, rows });
  return { store, sync, queue, rows };
}

test("draw, save, undo, save, redo, save: a tombstone is revived without a conflict", async () => {
  const server = new Server();
  const { store, sync } = desk(server);
  store.run("draw", [["a", drawing("a")]]);
  await sync.flush();
  store.undo();
  await sync.flush();
  assert.deepEqual([server.rows.get("a").deleted, server.rows.get("a").rev], [true, 2]);
  store.redo();
  await sync.flush();
  assert.deepEqual([server.rows.get("a").deleted, server.rows.get("a").rev, sync.state], [false, 3, "saved"]);
  sync.close();
});

test("nothing is sent for what was undone before it was saved", async () => {
  const server = new Server();
  const { store, sync } = desk(server);
  store.run("draw", [["a", drawing("a")]]);
  store.undo();
  await sync.flush();
  assert.deepEqual([server.calls, sync.state], [[], "saved"]);
  sync.close();
});

test("changes made while one is being sent go after it, on its revision", async () => {
  const server = new Server();
  const { store, sync } = desk(server);
  store.run("draw", [["a", drawing("a", 0)]]);
  const saving = sync.flush();
  for (let x = 1; x < 6; x++) {
    store.run("move", [["a", drawing("a", x)]]);
    sync.flush();
  }
  await saving;
  await sync.flush();
  assert.deepEqual(server.rows.get("a").geometry.at, [5, 0]);
  assert.equal(sync.state, "saved");
  sync.close();
});

test("offline: kept in the queue, taken up after a reload, saved when the network is back", async () => {
  const server = new Server();
  server.cut = "before";
  const first = desk(server);
  first.store.run("draw", [["a", drawing("a", 3)]]);
  first.store.run("nothing", [], { nothing: ["column"] });
  await first.sync.flush();
  assert.equal(first.sync.state, "unreachable");
  await first.sync.keep();
  first.sync.close();
  const second = desk(server, first.queue);
  assert.equal(await second.sync.recover(second.rows), 2);
  assert.deepEqual([second.store.get("a").geometry.at, second.store.nothing], [[3, 0], ["column"]]);
  server.cut = null;
  await second.sync.flush();
  await second.sync.keep();
  assert.deepEqual([second.sync.state, server.rows.get("a").rev, server.nothing], ["saved", 1, ["column"]]);
  assert.deepEqual(await second.queue.all(), []);
  second.sync.close();
});

test("an answer lost on the way is no conflict, also when the drawing was changed since", async () => {
  const server = new Server();
  const { store, sync } = desk(server);
  server.cut = "after";
  store.run("draw", [["a", drawing("a", 1)]]);
  await sync.flush();
  store.run("move", [["a", drawing("a", 2)]]);
  server.cut = null;
  await sync.flush();
  assert.deepEqual([sync.state, server.rows.get("a").geometry.at, sync.conflicts.size], ["saved", [2, 0], 0]);
  sync.close();
});

test("an answer lost before a reload is no conflict", async () => {
  const server = new Server();
  const first = desk(server);
  server.cut = "after";
  first.store.run("draw", [["a", drawing("a", 1)]]);
  await first.sync.flush();
  await first.sync.keep();
  first.sync.close();
  server.cut = null;
  const second = desk(server, first.queue);
  await second.sync.recover(second.rows);
  assert.deepEqual([second.sync.conflicts.size, second.sync.state], [0, "saved"]);
  await second.sync.keep();
  assert.deepEqual(await second.queue.all(), []);
  second.sync.close();
});

async function twoTabs() {
  const server = new Server();
  server.answer("PUT", "/annotations/a", drawing("a", 0), 0);
  const [one, two] = [desk(server), desk(server)];
  one.store.run("move", [["a", drawing("a", 1)]]);
  await one.sync.flush();
  two.store.run("move", [["a", drawing("a", 2)]]);
  two.store.run("draw", [["b", drawing("b", 7)]]);
  await two.sync.flush();
  one.sync.close();
  return { server, ...two };
}

test("two tabs: the later one has a conflict, which holds up nothing else", async () => {
  const { server, sync } = await twoTabs();
  assert.equal(sync.state, "conflict");
  assert.deepEqual(server.rows.get("b").geometry.at, [7, 0]);
  assert.deepEqual(server.rows.get("a").geometry.at, [1, 0]);
  sync.close();
});

test("a conflict: keep mine", async () => {
  const { server, sync } = await twoTabs();
  sync.resolve("a", "mine");
  await sync.flush();
  assert.deepEqual([server.rows.get("a").geometry.at, server.rows.get("a").rev, sync.state], [[2, 0], 3, "saved"]);
  sync.close();
});

test("a conflict: take theirs, and undo that", async () => {
  const { server, store, sync, queue } = await twoTabs();
  sync.resolve("a", "theirs");
  await sync.flush();
  await sync.keep();
  assert.deepEqual([store.get("a").geometry.at, sync.state, server.rows.get("a").rev], [[1, 0], "saved", 2]);
  assert.deepEqual(await queue.all(), []);
  store.undo();
  await sync.flush();
  assert.deepEqual(server.rows.get("a").geometry.at, [2, 0]);
  sync.close();
});

test("a drawing that is refused is told and does not hold up the others", async () => {
  const server = new Server();
  const { store, sync } = desk(server);
  store.run("draw", [["a", { ...drawing("a"), note: "refuse me" }]]);
  store.run("draw", [["b", drawing("b")]]);
  await sync.flush();
  assert.deepEqual([sync.state, sync.why, server.rows.has("b")], ["refused", "this note cannot be used", true]);
  store.run("note", [["a", drawing("a")]]);
  await sync.flush();
  assert.equal(sync.state, "saved");
  sync.close();
});

test("a login that ended is no loss", async () => {
  const server = new Server();
  const { store, sync } = desk(server);
  const call = server.call.bind(server);
  server.call = async () => {
    throw new Refused(401, { error: "log in first" });
  };
  store.run("draw", [["a", drawing("a")]]);
  await sync.flush();
  assert.equal(sync.state, "logged-out");
  server.call = call;
  await sync.flush();
  assert.equal(sync.state, "saved");
  sync.close();
});

test("films that were left unsaved are sent by one request; conflicts stay", async () => {
  const server = new Server();
  server.answer("PUT", "/annotations/old", drawing("old", 0), 0);
  const queue = new MemoryQueue();
  await queue.put({ assignment: "reading", id: "new", rev: 0, content: drawing("new", 4), stamp: "1", place: 0 });
  await queue.put({ assignment: "reading", id: "old", rev: 0, content: drawing("old", 9), stamp: "2", place: 1 });
  await sendLeftovers(server, queue);
  assert.deepEqual([server.rows.get("new").geometry.at, server.calls], [[4, 0], ["POST /assignments/reading/batch"]]);
  assert.deepEqual((await queue.all()).map(({ id }) => id), ["old"]);
});

test("an entry that was replaced while it was sent stays in the queue", async () => {
  const queue = new MemoryQueue();
  await queue.put({ assignment: "reading", id: "a", rev: 0, content: drawing("a"), stamp: "newer", place: 0 });
  await queue.remove("reading", "a", "older");
  assert.equal((await queue.all()).length, 1);
});

const MANY = Array.from({ length: 1200 }, (_, i) => `d${(i * 7919) % 1200}`); // 1,200 ids that are not sorted

async function manyOffline() {
  const server = new Server();
  const found = desk(server);
  server.cut = "before";
  for (const [i, id] of MANY.entries()) found.store.run("draw", [[id, drawing(id, i)]]);
  found.store.run("nothing", [], { nothing: ["column"] });
  await found.sync.flush();
  await found.sync.keep();
  assert.equal((await found.queue.all()).length, 1201);
  server.cut = null;
  server.calls = [];
  return { server, ...found };
}

test("1,200 changes made offline are saved in order when the network is back", async () => {
  const { server, sync, queue } = await manyOffline();
  await sync.flush();
  await sync.keep();
  assert.deepEqual([...server.rows.keys()], MANY);
  assert.deepEqual([sync.state, server.nothing, await queue.all()], ["saved", ["column"], []]);
  sync.close();
});

test("1,200 changes of a film that was left go in order, in requests that the server takes", async () => {
  const { server, sync, queue } = await manyOffline();
  sync.close();
  await sendLeftovers(server, queue);
  assert.deepEqual([...server.rows.keys()], MANY);
  assert.deepEqual([server.nothing, await queue.all()], [["column"], []]);
  assert.deepEqual(server.calls.map((call) => call.split(" ")[0]), ["POST", "POST", "POST", "PATCH"]);
});

test("large changes of a film that was left are divided among requests", async () => {
  const [server, queue] = [new Server(), new MemoryQueue()];
  const geometry = { kind: "mask", size: [4096, 3072], counts: Array(1e6).fill(10) };
  for (let i = 0; i < 5; i++) await queue.put({ assignment: "reading", id: `m${i}`, rev: 0, content: { ...drawing(`m${i}`), geometry }, stamp: "1", place: i });
  await sendLeftovers(server, queue);
  assert.deepEqual([server.calls.length, server.rows.size, await queue.all()], [3, 5, []]);
});

test("a film that the server refuses keeps its drawings and holds up no other film", async () => {
  const [server, queue] = [new Server(), new MemoryQueue()];
  const answer = server.answer.bind(server);
  server.answer = (method, path, ...more) => {
    if (path.includes("gone")) throw new Refused(404, { error: "there is no such reading" });
    return answer(method, path, ...more);
  };
  await queue.put({ assignment: "gone", id: "a", rev: 0, content: drawing("a"), stamp: "1", place: 0 });
  await queue.put({ assignment: "reading", id: "b", rev: 0, content: drawing("b"), stamp: "2", place: 0 });
  await sendLeftovers(server, queue);
  assert.deepEqual([[...server.rows.keys()], (await queue.all()).map(({ id }) => id)], [["b"], ["a"]]);
});
