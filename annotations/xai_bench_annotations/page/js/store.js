/**
 * What is drawn on one film, as immutable objects, and every change as a command that can be undone and done again.
 * @typedef {import("./geometry.js").Geometry} Geometry
 * @typedef {{id: string, label: string, geometry: Geometry, confidence: number | null, note: string, view_state: object}} Drawing
 * @typedef {{id: string, before: Drawing | null, after: Drawing | null}} Change
 * @typedef {{name: string, changes: Change[], before: string[], after: string[], joins: string | null}} Command
 */

const KEPT = 500; // commands that can be undone

/** A random id. crypto.randomUUID is missing on plain-http hosts other than localhost. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Store {
  constructor(/** @type {Drawing[]} */ drawings = [], /** @type {string[]} */ nothing = []) {
    /** @type {Map<string, Drawing>} */
    this.drawings = new Map(drawings.map((drawing) => [drawing.id, drawing]));
    this.nothing = nothing;
    /** @type {Command[]} */
    this.done = [];
    /** @type {Command[]} */
    this.undone = [];
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** In the order in which they were drawn. */
  all() {
    return [...this.drawings.values()];
  }

  /** @param {string} id */
  get(id) {
    return this.drawings.get(id) ?? null;
  }

  /** @param {string} label */
  of(label) {
    return this.all().filter((drawing) => drawing.label === label);
  }

  /**
   * Does and remembers a change. Drawing a label takes back "nothing to mark" for it.
   * @param {string} name what the command is called beside "Undo"
   * @param {[string, Drawing | null][]} changes id and what is drawn from now on
   * @param {{nothing?: string[], joins?: string}} [more] `joins`: a command right after one with the same word is one with it
   */
  run(name, changes, { nothing = this.nothing, joins } = {}) {
    const labels = new Set(changes.map(([, after]) => after?.label));
    const command = {
      name,
      changes: changes.map(([id, after]) => ({ id, before: this.get(id), after })),
      before: this.nothing,
      after: nothing.some((code) => labels.has(code)) ? nothing.filter((code) => !labels.has(code)) : nothing,
      joins: joins ?? null,
    };
    this.#apply(command, "after");
    const last = this.done.at(-1);
    if (joins && last?.joins === joins && !this.undone.length) this.done.splice(-1, 1, joined(last, command));
    else this.done.push(command);
    this.undone = [];
    if (this.done.length > KEPT) this.done.shift();
    this.changed();
  }

  undo() {
    return this.#step(this.done, this.undone, "before");
  }

  redo() {
    return this.#step(this.undone, this.done, "after");
  }

  /** Puts something in without a command: what was kept from an earlier visit. @param {string} id @param {Drawing | null} drawing */
  restore(id, drawing) {
    this.#set(id, drawing);
    this.changed();
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  /** @param {Command[]} from @param {Command[]} to @param {"before" | "after"} side */
  #step(from, to, side) {
    const command = from.pop();
    if (!command) return null;
    this.#apply(command, side);
    to.push(command);
    this.changed();
    return command;
  }

  /** @param {Command} command @param {"before" | "after"} side */
  #apply(command, side) {
    for (const change of command.changes) this.#set(change.id, change[side]);
    this.nothing = command[side];
  }

  /** @param {string} id @param {Drawing | null} drawing */
  #set(id, drawing) {
    if (drawing) this.drawings.set(id, drawing);
    else this.drawings.delete(id);
  }
}

/** Two commands on the same drawings as one. @param {Command} first @param {Command} second @returns {Command} */
function joined(first, second) {
  const before = new Map(first.changes.map((change) => [change.id, change.before]));
  return { ...second, before: first.before, changes: second.changes.map((c) => ({ ...c, before: before.has(c.id) ? before.get(c.id) ?? null : c.before })) };
}
