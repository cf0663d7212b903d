/**
 * Autosave of one film. One chain of requests, so that no two race on a revision; everything not yet confirmed is in the
 * queue; a conflict waits for the reader's decision and holds up nothing else.
 * @typedef {import("./store.js").Drawing} Drawing
 * @typedef {Drawing & {rev: number, deleted: boolean, updated: string}} Row
 * @typedef {"saved" | "pending" | "saving" | "unreachable" | "refused" | "conflict" | "logged-out"} State
 */
import { Refused, Unreachable } from "./api.js";
import { newId } from "./store.js";

const DELAY = 400; // ms after the last change
const RETRIES = [1000, 2000, 4000, 8000, 15000]; // ms; the last one again and again
const NOTHING = "nothing-to-mark"; // the queue's id of the answer "nothing to mark"
const MOST = 500; // changes that the server takes at once
const LARGEST = 8e6; // characters of them; the server takes 32 MiB
const ANSWERED_LATER = [401, 403, 429]; // of the login or of the pace, not of what was sent

/** What is compared, sent and kept. @param {Drawing} d */
export const content = (d) => ({ label: d.label, geometry: d.geometry, confidence: d.confidence, note: d.note, view_state: d.view_state });

/** Whether two drawings say the same; how the film was displayed does not matter. @param {Drawing | null} a @param {Drawing | null} b */
export function same(a, b) {
  const key = (/** @type {Drawing | null} */ d) => (d ? sorted([d.label, d.geometry, d.confidence, d.note]) : "");
  return key(a) === key(b);
}

/** JSON with the fields in order: the server may send them in another one. @param {any} value */
const sorted = (value) =>
  JSON.stringify(value, (_, v) => (v && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v));

/** What a row says now: null if it is deleted. @param {Row} row @returns {Drawing | null} */
export const standing = (row) => (row.deleted ? null : { id: row.id, ...content(row) });

export class Sync {
  /**
   * @param {{api: any, queue: any, store: import("./store.js").Store, assignment: {id: string, nothing_in: string[]}, rows: Row[]}} parts
   */
  constructor({ api, queue, store, assignment, rows }) {
    [this.api, this.queue, this.store, this.assignment] = [api, queue, store, assignment];
    /** @type {Map<string, number>} */
    this.revs = new Map(rows.map((row) => [row.id, row.rev]));
    /** @type {Map<string, Drawing | null>} what the server confirmed, by identity: a drawing that was put back is saved */
    this.confirmed = new Map(store.all().map((drawing) => [drawing.id, drawing]));
    this.confirmedNothing = assignment.nothing_in;
    /** @type {Map<string, {row: Row}>} */
    this.conflicts = new Map();
    /** @type {Map<string, {drawing: Drawing | null, why: string}>} */
    this.refused = new Map();
    /** @type {Map<string, Drawing | null>} sent, but no answer came: the server may have it */
    this.unanswered = new Map();
    /** @type {Map<string, {drawing: any, rev: number, stamp: string, place: number}>} what the queue holds */
    this.kept = new Map();
    this.place = 0; // of what comes into the queue next
    /** @type {((answer: any) => void) | null} */
    this.onAssignment = null;
    this.chain = Promise.resolve();
    this.keeping = Promise.resolve();
    this.failures = 0;
    this.trouble = /** @type {State | null} */ (null);
    this.busy = false;
    this.closed = false;
    this.listeners = new Set();
    store.listeners.add((this.heard = () => this.schedule()));
  }

  /** Ids whose drawing the server does not have as it is here. */
  dirty() {
    const ids = new Set([...this.store.drawings.keys(), ...this.confirmed.keys()]);
    return [...ids].filter((id) => this.store.get(id) !== (this.confirmed.get(id) ?? null));
  }

  get nothingIsDirty() {
    return sorted([...this.store.nothing].sort()) !== sorted([...this.confirmedNothing].sort());
  }

  get unsaved() {
    return this.dirty().length > 0 || this.nothingIsDirty;
  }

  /** @returns {State} */
  get state() {
    if (this.conflicts.size) return "conflict";
    if (!this.unsaved) return "saved";
    if (this.trouble) return this.trouble;
    if (this.busy) return "saving";
    return this.dirty().some((id) => this.refused.has(id)) ? "refused" : "pending";
  }

  /** Why the server refused a drawing, if it did. */
  get why() {
    return [...this.refused.values()][0]?.why ?? this.message ?? "";
  }

  /** Takes up what an earlier visit could not save. @param {Row[]} rows */
  async recover(rows) {
    const known = new Map(rows.map((row) => [row.id, row]));
    let found = 0;
    for (const entry of await this.queue.all(this.assignment.id)) {
      found++;
      this.kept.set(entry.id, { drawing: entry.content, rev: entry.rev, stamp: entry.stamp, place: entry.place });
      this.place = Math.max(this.place, entry.place + 1);
      if (entry.id === NOTHING) this.store.nothing = entry.content;
      else this.#takeUp(entry, known.get(entry.id));
    }
    if (found) this.store.changed();
    return found;
  }

  /** @param {any} entry @param {Row | undefined} row */
  #takeUp(entry, row) {
    if (same(entry.content, row ? standing(row) : null)) return void this.#forget(entry.id);
    this.store.restore(entry.id, entry.content);
    if (row && row.rev !== entry.rev) this.conflicts.set(entry.id, { row });
  }

  schedule() {
    this.keep();
    clearTimeout(this.timer);
    if (!this.closed) this.timer = setTimeout(() => this.flush(), DELAY);
    this.#tell();
  }

  /** Saves what there is to save, after what is being saved. */
  flush() {
    clearTimeout(this.timer);
    this.chain = this.chain.then(() => this.#save());
    return this.chain;
  }

  /** Puts what is unsaved into the queue, and takes out what no longer is. */
  keep() {
    const dirty = new Set(this.dirty());
    for (const id of dirty) this.#keepOne(id, this.store.get(id), this.revs.get(id) ?? 0);
    if (this.nothingIsDirty) this.#keepOne(NOTHING, this.store.nothing, 0);
    else this.#forget(NOTHING);
    for (const id of this.kept.keys()) if (id !== NOTHING && !dirty.has(id)) this.#forget(id);
    return this.keeping;
  }

  /** @param {string} id @param {any} drawing @param {number} rev */
  #keepOne(id, drawing, rev) {
    const kept = this.kept.get(id);
    if (kept && kept.drawing === drawing && kept.rev === rev) return;
    const [stamp, place] = [newId(), kept?.place ?? this.place++];
    this.kept.set(id, { drawing, rev, stamp, place });
    this.#later(() => this.queue.put({ assignment: this.assignment.id, id, rev, content: drawing, stamp, place }));
  }

  /** @param {string} id */
  #forget(id) {
    const kept = this.kept.get(id);
    if (!kept) return;
    this.kept.delete(id);
    this.#later(() => this.queue.remove(this.assignment.id, id, kept.stamp));
  }

  /** A browser that keeps nothing must not stop the saving. @param {() => Promise<any>} act */
  #later(act) {
    this.keeping = this.keeping.then(act).catch((error) => {
      this.forgetful = String(error);
    });
  }

  async #save() {
    if (!this.unsaved) return void this.#tell();
    [this.busy, this.trouble] = [true, null];
    this.#tell();
    try {
      await this.#answerNothing(this.confirmedNothing.filter((code) => this.store.nothing.includes(code)));
      for (let id; (id = this.#next()) !== undefined; ) await this.#send(id);
      if (!this.refused.size && !this.conflicts.size) await this.#answerNothing(this.store.nothing);
      [this.failures, this.message] = [0, ""];
    } catch (error) {
      this.#failed(error);
    }
    this.busy = false;
    this.keep();
    this.#tell();
  }

  #next() {
    return this.dirty().find((id) => !this.conflicts.has(id) && this.refused.get(id)?.drawing !== this.store.get(id));
  }

  /** @param {string[]} codes */
  async #answerNothing(codes) {
    if (sorted([...codes].sort()) === sorted([...this.confirmedNothing].sort())) return;
    const answer = await this.api.call("PATCH", `/assignments/${this.assignment.id}`, { nothing_in: codes });
    this.confirmedNothing = codes;
    this.onAssignment?.(answer);
  }

  /** @param {string} id */
  async #send(id) {
    const drawing = this.store.get(id);
    const rev = this.revs.get(id) ?? 0;
    if (!drawing && !rev && !this.unanswered.has(id)) return void this.confirmed.delete(id);
    this.refused.delete(id);
    const before = this.unanswered.get(id);
    this.unanswered.set(id, drawing);
    try {
      const headers = { "If-Match": String(rev) };
      const row = drawing
        ? await this.api.call("PUT", `/annotations/${id}`, { assignment: this.assignment.id, ...content(drawing) }, headers)
        : await this.api.call("DELETE", `/annotations/${id}`, undefined, headers);
      this.#confirm(id, drawing, row.rev);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.unanswered.delete(id);
      this.#refusal(id, drawing, error, before);
    }
  }

  /** @param {string} id @param {Drawing | null} drawing @param {number} rev */
  #confirm(id, drawing, rev) {
    this.revs.set(id, rev);
    this.confirmed.set(id, drawing);
    this.unanswered.delete(id);
    this.keep();
  }

  /** @param {string} id @param {Drawing | null} drawing @param {Refused} error @param {Drawing | null | undefined} before */
  #refusal(id, drawing, error, before) {
    if (ANSWERED_LATER.includes(error.status)) throw error;
    if (error.status === 404 && !drawing) return this.#confirm(id, null, this.revs.get(id) ?? 0);
    const row = error.status === 409 ? error.body?.current : null;
    if (!row) return void this.refused.set(id, { drawing, why: error.message });
    const now = standing(row);
    if (same(now, drawing)) return this.#confirm(id, drawing, row.rev);
    if (before !== undefined && same(now, before)) return void this.revs.set(id, row.rev); // its answer was lost: send again
    this.conflicts.set(id, { row });
  }

  /** @param {unknown} error */
  #failed(error) {
    this.message = error instanceof Error ? error.message : String(error);
    if (error instanceof Refused && error.status !== 429) {
      this.trouble = error.status === 401 ? "logged-out" : "refused";
      return;
    }
    if (!(error instanceof Unreachable) && !(error instanceof Refused)) throw error;
    this.trouble = "unreachable";
    const wait = RETRIES[Math.min(this.failures++, RETRIES.length - 1)];
    if (!this.closed) this.timer = setTimeout(() => this.flush(), wait);
  }

  /** Ends a conflict. Taking the other drawing is a command: it can be undone. @param {string} id @param {"mine" | "theirs"} whose */
  resolve(id, whose) {
    const conflict = this.conflicts.get(id);
    if (!conflict) return;
    this.conflicts.delete(id);
    const theirs = standing(conflict.row);
    this.revs.set(id, conflict.row.rev);
    this.confirmed.set(id, theirs);
    if (whose === "theirs") this.store.run("take the other drawing", [[id, theirs]]);
    this.schedule();
  }

  /** Stops listening and retrying; what is unsaved stays in the queue. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.store.listeners.delete(this.heard);
  }

  #tell() {
    for (const listener of this.listeners) listener(this.state);
  }
}

/**
 * Sends what is left of other films, in its order. A reading that the server refuses keeps its drawings in the queue and
 * holds up no other. @param {any} api @param {any} queue @param {string} except a reading that is open
 */
export async function sendLeftovers(api, queue, except = "") {
  /** @type {Map<string, any[]>} */
  const readings = new Map();
  for (const entry of await queue.all()) {
    if (entry.assignment !== except) readings.set(entry.assignment, [...(readings.get(entry.assignment) ?? []), entry]);
  }
  for (const [assignment, entries] of readings) {
    try {
      await sendReading(api, queue, assignment, entries);
    } catch (error) {
      if (!(error instanceof Refused) || ANSWERED_LATER.includes(error.status)) throw error;
    }
  }
}

/** @param {any} api @param {any} queue @param {string} assignment @param {any[]} entries */
async function sendReading(api, queue, assignment, entries) {
  const drawn = entries.filter((entry) => entry.id !== NOTHING);
  let left = drawn.length;
  for (const part of parts(drawn)) {
    const changes = part.map((e) => ({ id: e.id, rev: e.rev, ...(e.content ? { op: "put", ...content(e.content) } : { op: "delete" }) }));
    const answer = await api.call("POST", `/assignments/${assignment}/batch`, { changes });
    const taken = new Set(answer.changes.filter((/** @type {any} */ one) => one.status < 300).map((/** @type {any} */ one) => one.id));
    for (const entry of part) if (taken.has(entry.id)) await queue.remove(assignment, entry.id, entry.stamp);
    left -= taken.size;
  }
  const nothing = entries.find((entry) => entry.id === NOTHING);
  if (!nothing || left) return;
  await api.call("PATCH", `/assignments/${assignment}`, { nothing_in: nothing.content });
  await queue.remove(assignment, NOTHING, nothing.stamp);
}

/** Entries in as few requests as the server's limits allow. @param {any[]} entries */
function* parts(entries) {
  let [part, size] = [/** @type {any[]} */ ([]), 0];
  for (const entry of entries) {
    const length = JSON.stringify(entry.content).length;
    if (part.length === MOST || (part.length && size + length > LARGEST)) {
      yield part;
      [part, size] = [[], 0];
    }
    part.push(entry);
    size += length;
  }
  if (part.length) yield part;
}
