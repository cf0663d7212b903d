/**
 * What the server has not confirmed yet, kept by the browser so that it survives a reload or a crash.
 * @typedef {{reader: string, assignment: string, id: string, rev: number, content: any, stamp: string, place: number}} Entry
 * `place`: among the entries of its reading, in the order in which they came; ids are random and say nothing of it
 */

const STORE = "unsaved";

export class Queue {
  /** @param {string} reader whose work it is: another reader on this computer never sees or sends it */
  constructor(reader) {
    this.reader = reader;
    /** @type {Promise<IDBDatabase>} */
    this.opened = new Promise((resolve, reject) => {
      const request = indexedDB.open("xai-bench-annotate", 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: ["reader", "assignment", "id"] });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    this.opened.catch(() => {});
  }

  /** @param {Omit<Entry, "reader">} entry */
  put(entry) {
    return this.#run((store) => store.put({ reader: this.reader, ...entry }));
  }

  /** Forgets an entry unless it was replaced since. @param {string} assignment @param {string} id @param {string} stamp */
  remove(assignment, id, stamp) {
    return this.#run((store) => {
      const key = [this.reader, assignment, id];
      const request = store.get(key);
      request.onsuccess = () => request.result?.stamp === stamp && store.delete(key);
      return request;
    });
  }

  /** @returns {Promise<Entry[]>} the entries of one reading, or of all, in their order */
  async all(/** @type {string} */ assignment = "") {
    const range = IDBKeyRange.bound([this.reader, assignment], [this.reader, assignment || "\uffff", []]);
    const found = await this.#run((store) => store.getAll(range), "readonly");
    return found.sort((/** @type {Entry} */ a, /** @type {Entry} */ b) => a.place - b.place);
  }

  /** @param {(store: IDBObjectStore) => IDBRequest} act @param {IDBTransactionMode} mode @returns {Promise<any>} */
  async #run(act, mode = "readwrite") {
    const database = await this.opened;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}

/** The same without a database: for browsers that keep nothing, and for tests. */
export class MemoryQueue {
  constructor() {
    /** @type {Map<string, any>} */
    this.entries = new Map();
  }

  /** @param {Omit<Entry, "reader">} entry */
  async put(entry) {
    this.entries.set(`${entry.assignment} ${entry.id}`, entry);
  }

  /** @param {string} assignment @param {string} id @param {string} stamp */
  async remove(assignment, id, stamp) {
    const key = `${assignment} ${id}`;
    if (this.entries.get(key)?.stamp === stamp) this.entries.delete(key);
  }

  /** @returns {Promise<any[]>} */
  async all(assignment = "") {
    return [...this.entries.values()].filter((entry) => !assignment || entry.assignment === assignment);
  }
}
