/** The screen on which one film is read. */
import { Refused, Unreachable } from "./api.js";
import { Clock } from "./clock.js";
import { Desk } from "./desk.js";
import { conflict, flag, help, iconButton, loginAgain, missing } from "./dialogs.js";
import { byId, h, icon, toast } from "./dom.js";
import { Input } from "./input.js";
import { belongsElsewhere, shortcutOf } from "./keys.js";
import { Panel } from "./panel.js";
import { SaveBox } from "./savebox.js";
import { Store } from "./store.js";
import { Sync, sendLeftovers, standing } from "./sync.js";
import { TOOLS, toolNamed } from "./tools/all.js";

const STATES = { not_started: "Not started", in_progress: "In progress", done: "Done", flagged: "Flagged" };

export class Reader {
  /** @param {{api: any, queue: any, me: any, project: any, readings: any[], reading: any, leave: () => void, open: (id: string) => void, ahead: any}} parts */
  constructor({ api, queue, me, project, readings, reading, leave, open, ahead }) {
    [this.api, this.queue, this.me, this.project] = [api, queue, me, project];
    [this.readings, this.reading, this.leave, this.open, this.ahead] = [readings, reading, leave, open, ahead];
    this.ending = new AbortController();
    this.others = 0;
  }

  /** Loads the film and shows it. */
  async start() {
    const { reading } = this;
    byId("waiting").textContent = "Loading the film …";
    byId("panel").replaceChildren();
    this.#bar();
    const [pixels, rows] = await Promise.all([this.#pixels(reading.image), this.api.get(`/assignments/${reading.id}/annotations`)]);
    if (this.closed) return;
    this.store = new Store(rows.map(standing).filter(Boolean), reading.nothing_in);
    this.sync = new Sync({ api: this.api, queue: this.queue, store: this.store, assignment: reading, rows });
    this.sync.onAssignment = (/** @type {any} */ answer) => this.#reading(answer);
    const found = await this.sync.recover(rows).catch(() => 0);
    if (this.closed) return this.sync.close();
    this.#furnish(pixels);
    if (found) toast("Found drawings in this browser that were not saved yet; saving them now.");
    this.#begin();
  }

  async #pixels(image) {
    const known = this.ahead.of === image.id ? await this.ahead.pixels : null;
    return known ?? this.api.pixels(image);
  }

  #furnish(pixels) {
    const elements = { stage: byId("stage"), film: byId("film"), paint: byId("paint"), shapes: byId("shapes") };
    const say = (/** @type {string} */ text) => toast(text);
    const labels = this.project.labels.labels;
    this.desk = new Desk({ image: this.reading.image, pixels, labels, store: this.store, say, elements, locked: this.reading.state === "done" });
    this.input = new Input(this.desk);
    this.input.onCursor = () => this.#status();
    this.panel = new Panel(this.desk);
    this.#bar();
    this.clock = new Clock(this.reading.active_seconds);
    this.desk.listeners.add(() => this.#show());
    this.sync.listeners.add((/** @type {string} */ state) => this.#saved(state));
    this.#toolbar();
    this.#listen();
    this.desk.takeTool(this.desk.locked ? "select" : this.#firstTool());
    byId("waiting").textContent = "";
    byId("desk").dataset.ready = this.reading.id;
    byId("stage").focus({ preventScroll: true });
    this.#saved(this.sync.state);
  }

  #firstTool() {
    const { kinds } = this.project.labels.labels[0];
    return TOOLS.find((tool) => tool.kind && kinds.includes(tool.kind))?.name ?? "select";
  }

  #begin() {
    if (this.reading.state === "not_started") this.#patch({ state: "in_progress" });
    if (this.sync.unsaved) this.sync.flush();
    if (this.sync.conflicts.size) this.#decide();
    this.#leftovers();
    const next = this.readings[this.#place + 1];
    if (next) Object.assign(this.ahead, { of: next.image.id, pixels: this.api.pixels(next.image).catch(() => null) });
  }

  get #place() {
    return this.readings.findIndex(({ id }) => id === this.reading.id);
  }

  #listen() {
    const { signal } = this.ending;
    addEventListener("keydown", (event) => this.#key(event), { signal });
    addEventListener("keyup", (event) => event.key === " " && (this.input.space = false), { signal });
    addEventListener("blur", () => (this.input.space = false), { signal });
    addEventListener("online", () => (this.sync.flush(), this.#leftovers()), { signal });
    addEventListener("beforeunload", (event) => (this.panel.saveNote?.(), this.sync.unsaved && event.preventDefault()), { signal });
    addEventListener("visibilitychange", () => document.hidden && this.sync.flush(), { signal });
    this.observer = new ResizeObserver(() => this.desk.resize());
    this.observer.observe(byId("stage"));
    for (const id of ["bar", "tools", "panel"]) byId(id).addEventListener("click", giveBack, { signal });
  }

  #key(event) {
    if (event.defaultPrevented || belongsElsewhere(event)) return;
    const shortcut = shortcutOf(event);
    if (!shortcut) return;
    event.preventDefault();
    const at = { desk: this.desk, input: this.input, go: (/** @type {number} */ step) => this.go(step), finish: () => this.finish(), help };
    shortcut.run(at, event);
  }

  // The screen around the film

  #bar() {
    this.savebox = new SaveBox(() => this.#saveClicked());
    const locked = this.reading.state === "done";
    const place = this.#place;
    const done = locked
      ? h("button", { id: "reopen", disabled: !this.desk, on: { click: () => this.#reopen() } }, "Reopen")
      : h("button", { id: "done", class: "primary", title: "Ctrl Enter", disabled: !this.desk, on: { click: () => this.finish() } }, icon("check"), "Done");
    byId("bar").replaceChildren(
      h("button", { id: "films", class: "quiet", on: { click: () => this.#begun() || this.leave() } }, icon("left"), h("span", { class: "wide", text: "Films" })),
      h("div", { class: "title" }, h("strong", { text: `Film ${place + 1}` }), h("span", { class: "muted", text: ` of ${this.readings.length}` }), h("span", { id: "state", class: "pill", "data-state": this.reading.state, text: STATES[this.reading.state] })),
      this.savebox.element,
      h("span", { class: "gap" }),
      iconButton("flag", "Flag this film", () => this.#flag(), { id: "flag", disabled: !this.desk, "aria-pressed": String(this.reading.state === "flagged") }),
      iconButton("help", "Keys and mouse (?)", help, { id: "help" }),
      iconButton("theme", "Light or dark", () => globalThis.toggleTheme(), { id: "theme" }),
      iconButton("panel", "Labels and display", () => byId("desk").classList.toggle("panel-open"), { id: "panel-button" }),
      iconButton("left", "Film before (Page up)", () => this.go(-1), { id: "before", disabled: place <= 0 }),
      iconButton("right", "Next film (Page down)", () => this.go(1), { id: "next", disabled: place >= this.readings.length - 1 }),
      done,
    );
  }

  #toolbar() {
    const { desk } = this;
    const kinds = new Set(desk.labels.flatMap((label) => label.kinds));
    const usable = TOOLS.filter((tool) => !tool.kind || kinds.has(tool.kind));
    this.toolButtons = usable.map((tool) =>
      h("button", { class: "tool", "data-tool": tool.name, title: `${tool.hint} (${tool.key.toUpperCase()})`, on: { click: () => desk.takeTool(tool.name) } }, icon(tool.name), h("span", { text: tool.title }), h("kbd", { text: tool.key.toUpperCase() })),
    );
    const small = (/** @type {string} */ name, /** @type {string} */ title, /** @type {() => void} */ act) => iconButton(name, title, act, { id: name });
    this.undoButtons = [small("undo", "Undo (Ctrl Z)", () => desk.undo()), small("redo", "Redo (Ctrl Y)", () => desk.redo())];
    const views = [small("plus", "Zoom in (+)", () => desk.zoom(1.25)), small("minus", "Zoom out (−)", () => desk.zoom(0.8)), small("fit", "Fit the whole film (0)", () => desk.fit())];
    byId("tools").replaceChildren(...this.toolButtons, h("hr"), h("div", { class: "pairs" }, ...this.undoButtons, ...views));
    this.hint = h("span", { class: "tool-hint" });
    this.size = h("span", { class: "brush-size" });
    this.where = h("span", { class: "where" });
    this.zoomed = h("span", { class: "zoomed" });
    byId("status").replaceChildren(this.hint, this.size, h("span", { class: "gap" }), this.where, this.zoomed);
  }

  #show() {
    const { desk } = this;
    for (const button of this.toolButtons) button.setAttribute("aria-pressed", String(button.dataset.tool === desk.toolName));
    this.undoButtons[0].disabled = !this.store.done.length && !desk.tool.busy;
    this.undoButtons[1].disabled = !this.store.undone.length;
    byId("stage").dataset.tool = desk.toolName;
    this.hint.textContent = desk.locked ? "This film is done. Reopen it to change it." : toolNamed(desk.toolName).hint;
    const brush = desk.toolName === "brush" || desk.toolName === "eraser";
    this.size.textContent = brush ? `Size ${2 * desk.radius} px` : "";
    this.#status();
  }

  #status() {
    const { desk } = this;
    const { center, width, invert } = desk.window;
    this.zoomed.textContent = `${Math.round(desk.view.scale * 100)} %   W ${short(width)}  L ${short(center)}${invert ? "  inverted" : ""}`;
    const at = desk.cursor?.at;
    const value = at ? desk.film.valueAt(at) : null;
    const { slope, intercept } = this.reading.image;
    this.where.textContent = at && value !== null ? `x ${Math.floor(at[0])}  y ${Math.floor(at[1])}  value ${short(value * slope + intercept)}` : "";
  }

  // Saving

  #saved(state) {
    this.savebox.show(state, this.sync.why, this.others);
    if (state === "logged-out" && !this.asking) this.#logInAgain();
    if (state === "conflict" && !this.asking && !this.later) this.#decide();
    if (state === "saved" && this.others) this.#leftovers();
    if (state === "refused" && this.told !== this.sync.why) toast(`NOT SAVED: ${(this.told = this.sync.why)}`, "error");
  }

  #saveClicked() {
    if (this.sync?.state === "conflict") return this.#decide();
    if (this.sync?.state === "logged-out") return this.#logInAgain();
    this.sync?.refused.clear();
    this.sync?.flush();
    this.#leftovers();
  }

  async #decide() {
    this.asking = true;
    for (const [id, { row }] of [...this.sync.conflicts]) {
      const when = new Date(row.updated).toLocaleTimeString();
      const answer = await conflict(this.desk, this.store.get(id), standing(row), when);
      this.later = answer === null;
      if (answer && !this.closed) this.sync.resolve(id, answer);
    }
    this.asking = false;
  }

  async #logInAgain() {
    this.asking = true;
    const logIn = async (/** @type {string} */ name, /** @type {string} */ password) => {
      const me = await this.api.call("POST", "/session", { name, password });
      this.api.enter(me);
    };
    if (await loginAgain(logIn, this.me.name)) this.sync.flush();
    this.asking = false;
  }

  /** Films that were left before they could be saved. */
  async #leftovers() {
    try {
      await sendLeftovers(this.api, this.queue, this.reading.id);
    } catch (error) {
      if (!(error instanceof Unreachable) && !(error instanceof Refused)) throw error;
    }
    const left = await this.queue.all().catch(() => []);
    this.others = new Set(left.map((/** @type {any} */ entry) => entry.assignment).filter((/** @type {string} */ id) => id !== this.reading.id)).size;
    if (!this.closed) this.savebox.show(this.sync.state, this.sync.why, this.others);
  }

  // What becomes of the reading

  #reading(answer) {
    Object.assign(this.reading, answer);
    if (this.closed) return; // the bar is the next film's
    const state = byId("state");
    [state.dataset.state, state.textContent] = [answer.state, STATES[answer.state]];
    byId("flag").setAttribute("aria-pressed", String(answer.state === "flagged"));
  }

  /** @param {object} change @returns {Promise<boolean>} whether the server took it */
  async #patch(change) {
    try {
      const seconds = this.clock ? { active_seconds: Math.round(this.clock.seconds) } : {};
      this.#reading(await this.api.call("PATCH", `/assignments/${this.reading.id}`, { ...change, ...seconds }));
      return true;
    } catch (error) {
      if (!(error instanceof Unreachable) && !(error instanceof Refused)) throw error;
      if ("state" in change && change.state !== "in_progress") toast(error instanceof Refused ? error.message : "The server cannot be reached; try again when the work is saved.", "error");
      return false;
    }
  }

  /** Marks the film as done and goes to the next that is not. */
  async finish() {
    if (this.desk.locked || this.finishing || this.#begun()) return;
    this.panel.saveNote?.();
    const open = this.desk.labels.filter((label) => label.required && !this.store.of(label.code).length && !this.store.nothing.includes(label.code));
    if (open.length) {
      if ((await missing(open)) !== "nothing") return;
      this.store.run("nothing to mark", [], { nothing: [...this.store.nothing, ...open.map(({ code }) => code)] });
    }
    this.finishing = true;
    await this.sync.flush();
    const saved = !this.sync.unsaved && !this.sync.conflicts.size;
    if (!saved) toast("The film is not done yet: some work is not saved. Try again when it is.", "error");
    if (saved && (await this.#patch({ state: "done" }))) this.#next();
    this.finishing = false;
  }

  #next() {
    const after = [...this.readings.slice(this.#place + 1), ...this.readings.slice(0, this.#place)];
    const next = after.find(({ state }) => state === "not_started" || state === "in_progress");
    if (next) return this.open(next.id);
    toast("That was the last film. Thank you!");
    this.leave();
  }

  async #reopen() {
    if (!(await this.#patch({ state: "in_progress" }))) return;
    this.desk.locked = false;
    this.#bar();
    this.#saved(this.sync.state);
    this.desk.tell();
  }

  async #flag() {
    const reason = await flag(this.reading.flag_reason);
    if (reason === null) return;
    await this.sync.flush();
    if (await this.#patch({ state: "flagged", flag_reason: reason })) toast("Flagged.");
  }

  /** Says so if something is begun and not finished: it would be gone without a word. */
  #begun() {
    const begun = Boolean(this.desk?.tool.busy);
    if (begun) toast("A drawing is begun: finish it (Enter) or drop it (Esc) first.");
    return begun;
  }

  /** @param {number} step */
  go(step) {
    const other = this.readings[this.#place + step];
    if (this.#begun()) return;
    if (other) this.open(other.id);
    else toast(step > 0 ? "This is the last film." : "This is the first film.");
  }

  /** Leaves the film; what cannot be saved now stays in the browser's queue. */
  async close() {
    this.closed = true;
    this.ending.abort();
    this.observer?.disconnect();
    this.input?.close();
    this.clock?.close();
    delete byId("desk").dataset.ready;
    if (!this.desk) return;
    this.desk.tool.cancel();
    this.panel.close();
    const saved = this.sync.flush();
    if (this.clock) this.#patch({});
    await this.sync.keep();
    await Promise.race([saved, new Promise((resolve) => setTimeout(resolve, 1500))]);
    this.sync.close();
    this.desk.close();
  }
}

/** A button that was clicked by a pointer gives the focus back to the film, so that Space and Enter stay the film's. */
function giveBack(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.detail > 0 && target.closest("button") && !document.querySelector("dialog[open]")) byId("stage").focus({ preventScroll: true });
}

/** @param {number} value */
const short = (value) => (Math.abs(value) < 10 && !Number.isInteger(value) ? value.toFixed(2) : String(Math.round(value)));
