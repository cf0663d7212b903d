/** Beside the film: the labels with what is drawn of each, the chosen drawing, and how the film is shown. */
import { cobbAngle, ringArea, rings } from "./geometry.js";
import { byId, counted, h, icon, swatch } from "./dom.js";
import { kindTitle } from "./tools/all.js";

export class Panel {
  /** @param {import("./desk.js").Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.facts = new WeakMap();
    this.labels = h("ul", { class: "labels" });
    this.chosen = h("div", { class: "chosen" });
    this.display = h("div", { class: "display" });
    this.left = h("span", { class: "left" });
    byId("panel").replaceChildren(h("section", {}, h("h2", {}, "Labels", this.left), this.labels), section("Chosen drawing", this.chosen), section("Display", this.display));
    this.#buildDisplay();
    this.shown = { labels: "", chosen: "" };
    desk.listeners.add((this.heard = () => this.render()));
    this.render();
  }

  /** Saves what is being typed. */
  close() {
    this.saveNote?.();
    this.desk.listeners.delete(this.heard);
  }

  render() {
    const { desk } = this;
    const drawn = desk.store.all().map((d) => [d.id, d.label, d.geometry.kind, this.#fact(d), d.confidence]);
    const open = desk.labels.filter(({ code, required }) => required && !desk.store.of(code).length && !desk.store.nothing.includes(code)).length;
    this.left.textContent = open ? `${counted(open, "answer")} needed` : "all answered";
    this.left.dataset.open = String(open);
    this.#renew("labels", [desk.label, desk.selected, desk.locked, desk.store.nothing, drawn], () => desk.labels.map((label) => this.#label(label)));
    const chosen = desk.store.get(desk.selected ?? "");
    this.#renew("chosen", [desk.locked, chosen && [chosen.id, chosen.label, chosen.confidence, this.#fact(chosen)]], () => (chosen ? this.#describe(chosen) : [this.#nobody()]));
    this.#showNote(chosen);
    this.#showDisplay();
  }

  /** Builds a part anew if what it shows has changed, and gives the focus back. @param {"labels" | "chosen"} part @param {any} state @param {() => Node[]} build */
  #renew(part, state, build) {
    const key = JSON.stringify(state);
    if (this.shown[part] === key) return;
    this.shown[part] = key;
    const held = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.key;
    const inside = this[part].contains(document.activeElement);
    this[part].replaceChildren(...build());
    if (inside && held) (/** @type {HTMLElement | null} */ (this[part].querySelector(`[data-key="${CSS.escape(held)}"]`)) ?? byId("stage")).focus();
  }

  #label(label) {
    const { desk } = this;
    const drawn = desk.store.of(label.code);
    const nothing = desk.store.nothing.includes(label.code);
    const answered = drawn.length > 0 || nothing;
    const take = h(
      "button",
      { class: "take", "data-key": `take ${label.code}`, "data-label": label.code, "aria-pressed": String(desk.label === label.code), on: { click: () => desk.takeLabel(label.code) } },
      swatch(label.color),
      h("span", { class: "name", text: label.name }),
      label.required && !answered ? h("span", { class: "open", title: "Still needs an answer", role: "img", "aria-label": "still needs an answer" }) : null,
      label.hotkey ? h("kbd", { text: label.hotkey }) : null,
    );
    const mark = drawn.length ? h("span", { class: "answered", title: "Drawn" }, icon("check")) : this.#nothing(label, nothing);
    const items = drawn.map((drawing) => this.#drawing(drawing, label));
    return h("li", { class: "label", "data-depth": this.#depth(label) }, h("div", { class: "row" }, take, mark), items.length ? h("ul", {}, ...items) : null);
  }

  #nothing(label, nothing) {
    const title = nothing ? "Take back: nothing to mark (N)" : "There is nothing to mark of this label (N)";
    return h(
      "button",
      { class: "nothing", title, "aria-label": `Nothing to mark: ${label.name}`, "data-key": `nothing ${label.code}`, "data-nothing": label.code, "aria-pressed": String(nothing), disabled: this.desk.locked, on: { click: () => this.desk.toggleNothing(label.code) } },
      nothing ? icon("check") : null,
      "Nothing",
    );
  }

  #drawing(drawing, label) {
    const { desk } = this;
    const title = `${kindTitle(drawing.geometry.kind)}, ${label.name}`;
    const choose = () => {
      if (desk.toolName !== "select") desk.takeTool("select");
      desk.select(drawing.id);
    };
    const parts = [h("span", { text: kindTitle(drawing.geometry.kind) }), h("span", { class: "fact", text: this.#fact(drawing) })];
    return h(
      "li",
      {},
      h("button", { class: "drawing", "data-key": `choose ${drawing.id}`, "data-drawing": drawing.id, "aria-pressed": String(drawing.id === desk.selected), on: { click: choose } }, ...parts),
      h("button", { class: "quiet", "data-key": `delete ${drawing.id}`, "aria-label": `Delete: ${title}`, title: "Delete", disabled: desk.locked, on: { click: () => desk.remove(drawing.id) } }, icon("trash")),
    );
  }

  #depth(label) {
    let depth = 0;
    for (let at = label; at?.inside; at = this.desk.labels.find(({ code }) => code === at.inside)) depth++;
    return Math.min(depth, 4);
  }

  /** The one number that matters of a drawing; counted once, as geometries never change and painted ones are large. */
  #fact({ geometry }) {
    if (!this.facts.has(geometry)) this.facts.set(geometry, this.#measured(geometry));
    return this.facts.get(geometry);
  }

  #measured(geometry) {
    if (geometry.kind === "cobb") return `${cobbAngle(geometry.upper, geometry.lower).toFixed(1)}°`;
    if (geometry.kind === "landmark") return `${geometry.at.map((x) => Math.round(x)).join(", ")}`;
    const { spacing_row: row, spacing_column: column } = this.desk.image;
    const area = geometry.kind === "mask" ? this.desk.rasters.get(geometry).count() : rings(geometry).reduce((sum, ring, i) => sum + (i ? -1 : 1) * ringArea(ring), 0);
    return row && column ? `${rounded((area * row * column) / 100)} cm²` : `${rounded(area)} px`;
  }

  #nobody() {
    return h("p", { class: "hint", text: "Choose a drawing on the film or in the list to say how sure you are, add a note, or change its label." });
  }

  #describe(drawing) {
    const { desk } = this;
    const labels = desk.labels.filter((label) => label.kinds.includes(drawing.geometry.kind));
    const select = h("select", { "data-key": "relabel", disabled: desk.locked, on: { change: () => desk.relabel(drawing, desk.labelOf(select.value)) } }, ...labels.map((label) => h("option", { value: label.code, text: label.name, selected: label.code === drawing.label })));
    const sure = (n) => h("button", { class: "sure", "data-key": `sure ${n}`, "aria-pressed": String(drawing.confidence === n), disabled: desk.locked, title: SURE[n - 1], text: String(n), on: { click: () => desk.describe(drawing.id, { confidence: drawing.confidence === n ? null : n }, "confidence") } });
    const note = h("textarea", { "data-key": "note", rows: 2, maxlength: 2000, disabled: desk.locked, placeholder: "Anything to add?" });
    note.value = drawing.note;
    this.#saveWhileTyped(note, drawing.id);
    return [
      h("label", {}, h("span", { text: "Label" }), select),
      h("div", { class: "field", role: "group", "aria-label": "How sure are you?" }, h("span", { text: "How sure?" }), h("div", { class: "sures" }, ...[1, 2, 3, 4, 5].map(sure)), h("small", { text: drawing.confidence ? SURE[drawing.confidence - 1] : "1 unsure … 5 certain" })),
      h("label", {}, h("span", { text: "Note" }), note),
      h("button", { class: "danger", "data-key": "remove", disabled: desk.locked, on: { click: () => desk.remove(drawing.id) } }, icon("trash"), "Delete"),
    ];
  }

  /** A note is saved while it is typed, as one step of undo. */
  #saveWhileTyped(note, id) {
    const save = () => {
      clearTimeout(this.typing);
      const [old, text] = [this.desk.store.get(id), printable(note.value)];
      if (old && old.note !== text) this.desk.describe(id, { note: text }, "note", `note ${id}`);
    };
    const later = () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(save, 500);
    };
    note.addEventListener("input", later);
    note.addEventListener("blur", save);
    [this.note, this.saveNote] = [note, save];
  }

  /** What undo or another tab did to the note, unless it is being typed. */
  #showNote(drawing) {
    if (drawing && this.note && document.activeElement !== this.note && this.note.value !== drawing.note) this.note.value = drawing.note;
  }

  #buildDisplay() {
    const { desk } = this;
    const slider = (/** @type {string} */ name, /** @type {string} */ text, /** @type {any} */ range, /** @type {(value: number) => void} */ act) => {
      this[name] = h("input", { type: "range", ...range, "aria-label": text, on: { input: (event) => act(Number(event.target.value)) } });
      return h("label", { class: "slider" }, h("span", { text }), this[name]);
    };
    const low = desk.presets.at(-1).center - desk.range / 2;
    const step = desk.range / 1000;
    this.presets = desk.presets.map(({ name }, i) => h("button", { class: "chip", "data-preset": name, title: `Shift ${i + 1}`, text: name, on: { click: () => desk.preset(i) } }));
    this.invert = h("button", { class: "chip", title: "I", text: "Invert", on: { click: () => desk.setWindow({ invert: !desk.window.invert }) } });
    this.hide = h("button", { class: "chip", title: "H", text: "Hide drawings", on: { click: () => desk.setShown({ hidden: !desk.hidden }) } });
    this.cross = h("button", { class: "chip", title: "X", text: "Crosshair", on: { click: () => desk.setShown({ cross: !desk.cross }) } });
    this.display.replaceChildren(
      h("div", { class: "chips", role: "group", "aria-label": "Window presets" }, ...this.presets, this.invert),
      slider("level", "Level", { min: low, max: low + desk.range, step }, (center) => desk.setWindow({ center })),
      slider("width", "Width", { min: step, max: desk.range * 1.5, step }, (width) => desk.setWindow({ width })),
      slider("opacity", "Opacity", { min: 0, max: 1, step: 0.05 }, (opacity) => desk.setShown({ opacity })),
      slider("brush", "Brush", { min: 0.5, max: Math.max(20, Math.round(desk.image.width / 12)), step: 0.5 }, (radius) => desk.setBrush(radius)),
      h("div", { class: "chips" }, this.hide, this.cross),
    );
  }

  #showDisplay() {
    const { desk } = this;
    const { center, width, invert } = desk.window;
    for (const [name, value] of /** @type {[string, number][]} */ ([["level", center], ["width", width], ["opacity", desk.opacity], ["brush", desk.radius]])) {
      if (document.activeElement !== this[name] || this[name].value !== String(value)) this[name].value = String(value);
    } // prettier-ignore
    this.presets.forEach((chip, i) => chip.setAttribute("aria-pressed", String(same(desk.presets[i].center, center) && same(desk.presets[i].width, width))));
    for (const [chip, on] of /** @type {[HTMLElement, boolean][]} */ ([[this.invert, invert], [this.hide, desk.hidden], [this.cross, desk.cross]])) chip.setAttribute("aria-pressed", String(on)); // prettier-ignore
  }
}

const SURE = ["Unsure", "Rather unsure", "Moderately sure", "Sure", "Certain"];

const same = (/** @type {number} */ a, /** @type {number} */ b) => Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(a));

/** Two digits, or whole thousands. @param {number} value */
const rounded = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(2));

/** What the server takes: no control characters but line ends. @param {string} text */
const printable = (text) => text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, "");

/** @param {string} title @param {Node} content */
const section = (title, content) => h("section", {}, h("h2", { text: title }), content);
