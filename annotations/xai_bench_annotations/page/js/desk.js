/** The reader's desk: one film, how it is shown, what is drawn on it, and the tool in the hand. */
import { boxOf, clamped, points } from "./geometry.js";
import { boxOfMask } from "./mask.js";
import { Paint, Rasters } from "./paint.js";
import { Film } from "./film.js";
import { Shapes } from "./shapes.js";
import { newId } from "./store.js";
import { TOOLS, toolNamed } from "./tools/all.js";
import { View, histogram, lookup, presets, windowDragged } from "./view.js";

const RADIUS = { least: 0.5, most: 250 }; // image pixels

export class Desk {
  /**
   * @param {{image: any, pixels: Uint16Array, labels: any[], store: import("./store.js").Store, say: (text: string) => void,
   *   elements: {stage: HTMLElement, film: HTMLCanvasElement, paint: HTMLCanvasElement, shapes: HTMLDivElement}, locked: boolean}} parts
   */
  constructor({ image, pixels, labels, store, say, elements, locked }) {
    [this.image, this.labels, this.store, this.say, this.elements, this.locked] = [image, labels, store, say, elements, locked];
    this.size = { width: image.width, height: image.height };
    this.rasters = new Rasters();
    this.film = new Film(elements.film, pixels, this.size);
    this.paint = new Paint(elements.paint, this.rasters);
    this.shapes = new Shapes(elements.shapes);
    this.presets = presets(image, histogram(pixels));
    this.range = this.presets.at(-1)?.width ?? 1;
    this.window = { center: this.presets[0].center, width: this.presets[0].width, invert: false };
    this.table = lookup(this.window, image);
    [this.opacity, this.hidden, this.cross, this.radius] = [0.25, false, false, Math.max(4, Math.round(image.width / 40))];
    /** @type {string | null} */
    this.selected = null;
    /** @type {{at: [number, number], keyboard: boolean} | null} */
    this.cursor = null;
    /** @type {any[]} */
    this.live = [];
    this.listeners = new Set();
    this.label = labels[0].code;
    this.tool = new (toolNamed("select").Tool)(this);
    this.toolName = "select";
    this.stale = new Set(["film", "paint", "back", "front"]);
    this.view = new View(1, 0, 0);
    this.resize();
    this.fit();
    store.listeners.add(() => this.#storeChanged());
  }

  // What tools ask for

  clamped(p) {
    return clamped(p, this.size);
  }

  /** Draws something of the label in hand. @param {any} geometry */
  add(geometry, id = newId()) {
    const drawing = { id, label: this.label, geometry, confidence: null, note: "", view_state: this.#viewState() };
    this.#run(`draw ${this.labelOf(this.label).name}`, [[id, drawing]]);
    this.select(id);
  }

  /** Gives drawings other geometries; null deletes. @param {string} name @param {[string, any][]} geometries @param {string} [joins] */
  change(name, geometries, joins) {
    const changes = geometries.map(([id, geometry]) => {
      const old = this.store.get(id);
      return [id, geometry && old ? { ...old, geometry, view_state: this.#viewState() } : null];
    });
    this.#run(name, changes, { joins });
  }

  /** Changes what is said about a drawing. @param {string} id @param {object} words @param {string} name @param {string} [joins] */
  describe(id, words, name, joins) {
    const old = this.store.get(id);
    if (old) this.#run(name, [[id, { ...old, ...words }]], { joins });
  }

  /** @param {string} id */
  remove(id) {
    const drawing = this.store.get(id);
    if (drawing) this.#run(`delete ${this.labelOf(drawing.label).name}`, [[id, null]]);
  }

  /** Answers "nothing to mark" for a label, or takes the answer back. @param {string} code */
  toggleNothing(code) {
    const drawn = this.store.of(code).length;
    if (drawn) return this.say(`${this.labelOf(code).name} is drawn on this film; delete the drawing first.`);
    const has = this.store.nothing.includes(code);
    const nothing = has ? this.store.nothing.filter((other) => other !== code) : [...this.store.nothing, code];
    this.#run(has ? "take back “nothing to mark”" : "nothing to mark", [], { nothing });
  }

  #run(name, changes, more = {}) {
    if (this.locked) return this.say("This film is done. Reopen it to change it.");
    this.store.run(name, changes, more);
  }

  /** @param {any[] | null} parts what is being painted */
  painting(parts) {
    this.live = parts ?? [];
    this.redraw("paint", "front");
  }

  /** What lies under a point. @param {[number, number]} p @param {boolean} touch @param {boolean} [hovering] */
  hit(p, touch, hovering) {
    this.shapes.setReach(touch);
    if (!hovering) this.#draw(); // handles where they are now
    const found = this.hidden ? null : this.shapes.hit(this.view.toScreen(p), hovering);
    if (found) return found;
    const under = this.store.all().findLast((d) => d.geometry.kind === "mask" && !this.hidden && this.rasters.get(d.geometry).has(p));
    return under ? { id: under.id, handle: null } : null;
  }

  // What is in hand

  /** @param {string} code */
  labelOf(code) {
    return this.labels.find((label) => label.code === code) ?? { code, name: code, color: "#999999", kinds: [], hotkey: null };
  }

  get color() {
    return this.labelOf(this.label).color;
  }

  /** @param {string} name */
  takeTool(name) {
    const { kind, Tool, title } = toolNamed(name);
    if (kind && !this.labelOf(this.label).kinds.includes(kind)) {
      const other = this.labels.find((label) => label.kinds.includes(kind));
      if (!other) return this.say(`No label of this project is drawn as ${title.toLowerCase()}.`);
      this.label = other.code;
    }
    this.tool.cancel();
    [this.tool, this.toolName] = [new Tool(this), name];
    if (name !== "select") this.selected = null;
    this.redraw("back", "front");
    this.tell();
  }

  /** Takes a label for what is drawn next; what is drawn already keeps its own. @param {string} code */
  takeLabel(code) {
    const label = this.labelOf(code);
    this.label = code;
    const { kind } = toolNamed(this.toolName);
    if (kind && !label.kinds.includes(kind)) {
      this.takeTool(TOOLS.find((tool) => tool.kind && label.kinds.includes(tool.kind))?.name ?? "select");
    }
    this.redraw("front");
    this.tell();
  }

  relabel(drawing, label) {
    if (!label.kinds.includes(drawing.geometry.kind)) return this.say(`${label.name} is not drawn this way.`);
    if (drawing.label === label.code) return this.say(`It is labelled ${label.name} already; take another label first.`);
    this.describe(drawing.id, { label: label.code }, `relabel to ${label.name}`);
    this.label = label.code;
  }

  /** @param {string | null} id */
  select(id) {
    this.selected = id;
    const chosen = this.store.get(id ?? "");
    if (chosen) this.label = chosen.label;
    if (this.tool.vertex) this.tool.vertex = null;
    this.redraw("back", "front");
    this.tell();
  }

  /** @param {number} factor */
  resizeBrush(factor) {
    const next = this.radius * factor;
    const step = factor > 1 ? Math.ceil : Math.floor;
    this.setBrush(next > 4 ? Math.round(next) : step(2 * next) / 2);
  }

  /** @param {number} radius image pixels */
  setBrush(radius) {
    this.radius = Math.min(RADIUS.most, Math.max(RADIUS.least, radius));
    this.redraw("front");
    this.tell();
  }

  undo() {
    if (!this.tool.busy) return this.#step(this.store.undo(), "Undone");
    if (this.toolName === "select" || !this.tool.back()) this.tool.cancel(); // a stroke or a drag that is under way
    this.redraw("front");
  }

  redo() {
    if (!this.tool.busy) this.#step(this.store.redo(), "Done again");
  }

  #step(command, word) {
    if (!command) return this.say(word === "Undone" ? "There is nothing to undo." : "There is nothing to do again.");
    const touched = command.changes.map(({ id }) => id).find((id) => this.store.get(id));
    this.select(this.toolName === "select" && touched ? touched : null);
    this.say(`${word}: ${command.name}`);
  }

  // How the film is shown

  get box() {
    const { clientWidth, clientHeight } = this.elements.stage;
    return { width: Math.max(1, clientWidth), height: Math.max(1, clientHeight) };
  }

  resize() {
    const { width, height } = this.box;
    this.ratio = globalThis.devicePixelRatio || 1;
    for (const canvas of [this.elements.film, this.elements.paint]) {
      [canvas.width, canvas.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    }
    this.shapes.resize({ width, height }, this.ratio);
    this.setView(this.fitted ? View.fit(this.size, this.box) : this.view.kept(this.size, this.box), this.fitted);
  }

  /** @param {View} view @param {boolean} [fitted] */
  setView(view, fitted = false) {
    [this.view, this.fitted] = [view, fitted];
    this.elements.stage.dataset.view = `${view.scale} ${view.x} ${view.y}`;
    this.redraw("film", "paint", "front", "place");
    this.tell();
  }

  fit() {
    this.setView(View.fit(this.size, this.box), true);
  }

  zoom(factor, at = [this.box.width / 2, this.box.height / 2]) {
    this.setView(this.view.zoomed(at, factor, this.size, this.box));
  }

  pan(dx, dy) {
    this.setView(this.view.panned(dx, dy, this.size, this.box));
  }

  /** @param {object} change */
  setWindow(change) {
    this.window = { ...this.window, ...change };
    this.table = lookup(this.window, this.image);
    this.redraw("film");
    this.tell();
  }

  /** @param {number} place */
  preset(place) {
    const { name, center, width } = this.presets[place] ?? {};
    if (name) this.setWindow({ center, width });
  }

  dragWindow(dx, dy) {
    this.setWindow(windowDragged(this.window, dx, dy, this.range, this.image));
  }

  setShown(change) {
    Object.assign(this, change);
    this.elements.stage.classList.toggle("hidden-drawings", this.hidden);
    this.redraw("paint", "back", "front");
    this.tell();
  }

  /** How the film was shown when something was drawn: kept with the drawing. */
  #viewState() {
    const { center, width, invert } = this.window;
    const round = (/** @type {number} */ x) => Math.round(x * 1e4) / 1e4;
    return { window: round(width), level: round(center), zoom: round(this.view.scale), x: round(this.view.x), y: round(this.view.y), invert };
  }

  // Drawing, once a frame

  redraw(/** @type {string[]} */ ...parts) {
    for (const part of parts) this.stale.add(part);
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const { stale, view, ratio } = this;
    cancelAnimationFrame(this.frame ?? 0);
    [this.frame, this.stale] = [undefined, new Set()];
    const colorOf = (/** @type {string} */ code) => this.labelOf(code).color;
    const draft = this.tool.draft;
    const dragged = draft?.kind === "edit" ? draft : null;
    if (stale.has("film")) this.film.draw(view, this.table, ratio);
    if (stale.has("paint")) this.paint.draw({ drawings: this.store.all(), live: this.live, colorOf, opacity: this.opacity, view, ratio });
    if (stale.has("back") || Boolean(dragged) !== this.wasDragged) this.#drawBack(colorOf, dragged);
    this.wasDragged = Boolean(dragged);
    if (stale.has("front")) this.#drawFront(draft, dragged, colorOf);
    if (stale.has("place")) this.shapes.place(view);
  }

  #drawBack(colorOf, dragged) {
    const erased = new Set([...this.live.map(({ id }) => id), dragged?.id]);
    const rest = this.store.all().filter((drawing) => !erased.has(drawing.id));
    this.shapes.showDrawings(rest, { colorOf, opacity: this.opacity, selected: this.selected });
  }

  #drawFront(draft, dragged, colorOf) {
    if (this.live.length !== this.wasLive) this.#drawBack(colorOf, dragged);
    this.wasLive = this.live.length;
    const drawing = this.store.get(this.selected ?? "");
    const chosen = drawing && { ...drawing, geometry: dragged?.geometry ?? drawing.geometry, dragged: Boolean(dragged), box: this.#boxOf(drawing, dragged) };
    this.shapes.showFront({
      draft, color: this.color, opacity: this.opacity, vertex: this.tool.vertex ?? null, size: this.size, radius: this.radius,
      chosen: this.toolName === "select" ? chosen : null, chosenColor: drawing && colorOf(drawing.label),
      tag: drawing && drawing.geometry.kind !== "cobb" ? this.labelOf(drawing.label).name : null,
      cursor: this.cursor?.at ?? null, cross: this.cross || this.cursor?.keyboard,
    }); // prettier-ignore
  }

  #boxOf(drawing, dragged) {
    return drawing.geometry.kind === "mask" ? boxOfMask(drawing.geometry) : boxOf(points(dragged?.geometry ?? drawing.geometry));
  }

  #storeChanged() {
    if (this.selected && !this.store.get(this.selected)) this.selected = null;
    this.redraw("paint", "back", "front");
    this.tell();
  }

  tell() {
    for (const listener of this.listeners) listener();
  }

  close() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.shapes.stage.destroy();
    this.listeners.clear();
  }
}
