/** One film with what each reader drew and the consensus over it, and its measures. */

import { Refused } from "./api.js";
import { h, swatch } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
/** Told apart by readers with any color vision, on dark films (Okabe and Ito 2008). */
const COLORS = ["#56b4e9", "#e69f00", "#f18cc7", "#f0e442", "#2fc18c", "#ff7a33", "#7c9cff", "#c9c9c9"];
const AGREED = "#ffffff";
const METHODS = { majority: "Majority", staple: "STAPLE", union: "Union", intersection: "Intersection" };
/** The measures that are shown of a pair of readers, with their digits. @type {Record<string, [string, number]>} */
const PAIR = {
  dice: ["Dice", 2],
  distance_px: ["distance, px", 1],
  distance_mm: ["distance, mm", 1],
  hausdorff95_px: ["Hausdorff 95, px", 1],
  landmark_px: ["distance, px", 1],
  landmark_mm: ["distance, mm", 1],
  angle_difference: ["difference, °", 1],
};

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...Node} children */
function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** @param {number | null} value @param {number} digits */
const number = (value, digits) => (value === null || value === undefined ? "—" : value.toFixed(digits).replace("-", "−"));

export class FilmView {
  /**
   * @param {import("./api.js").Api} api @param {{id: string, number: number}[]} films
   * @param {{code: string, name: string, color: string}[]} labels
   */
  constructor(api, films, labels) {
    [this.api, this.films, this.labels] = [api, films, labels];
    this.place = 0;
    this.label = "";
    this.method = "majority";
    /** @type {Set<string>} */
    this.hidden = new Set();
    /** @type {any} */
    this.film = null;
    /** @type {any} */
    this.agreed = null;
    /** The outlines over the film. @type {any} */
    this.over = null;
    this.picture = h("div", { class: "film-picture" });
    this.choices = h("div", { class: "film-choices" });
    this.element = h("section", { class: "film-view", "aria-label": "Films" }, this.picture, this.choices);
    this.asked = 0;
  }

  async start() {
    addEventListener("keydown", (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
      if (event.key === "ArrowLeft") this.go(this.place - 1);
      if (event.key === "ArrowRight") this.go(this.place + 1);
    });
    await this.go(0);
  }

  /** @param {number} place */
  async go(place) {
    if (place < 0 || place >= this.films.length) return;
    this.place = place;
    const turn = ++this.asked;
    try {
      const film = await this.api.get(`/images/${this.films[place].id}/compare`);
      if (turn !== this.asked) return;
      this.film = film;
    } catch (error) {
      if (turn === this.asked) this.#say(error);
      return;
    }
    const drawn = this.film.labels.filter((/** @type {any} */ l) => this.#anybody(l));
    if (!drawn.some((/** @type {any} */ l) => l.code === this.label)) this.label = (drawn[0] ?? this.film.labels[0]).code;
    await this.#choose();
  }

  /** @param {any} label */
  #anybody(label) {
    return Object.values(label.readers).some((/** @type {any} */ r) => r.state === "drawn");
  }

  /** Another label or method: the consensus is asked for, and everything is shown again. */
  async #choose() {
    const turn = ++this.asked;
    this.agreed = null;
    const label = this.#label();
    let why = "";
    if (label.area && this.film.readers.length > 1) {
      try {
        const path = `/images/${this.film.image}/consensus?label=${label.code}&method=${this.method}`;
        const agreed = await this.api.get(path);
        if (turn !== this.asked) return;
        this.agreed = agreed;
      } catch (error) {
        if (turn !== this.asked) return;
        if (!(error instanceof Refused)) return this.#say(error);
        why = error.message;
      }
    }
    this.#draw();
    this.#offer(why);
  }

  #label() {
    return this.film.labels.find((/** @type {any} */ l) => l.code === this.label);
  }

  /** @param {unknown} error */
  #say(error) {
    this.over = null;
    this.picture.replaceChildren(h("p", { class: "instead", text: error instanceof Refused ? error.message : "The server cannot be reached." }));
    this.choices.replaceChildren(this.#pages());
  }

  /** @param {string} who */
  #color(who) {
    return COLORS[this.film.readers.indexOf(who) % COLORS.length];
  }

  /** The outlines anew; the film itself stays, so that it does not flicker. */
  #draw() {
    const { width, height, scale, number: n, image } = this.film;
    const [w, t] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
    if (this.over?.dataset.image !== image) {
      this.over = s("g", { "data-image": image });
      const base = s("image", { href: `/api/v1/images/${image}/picture`, width: w, height: t, preserveAspectRatio: "none" });
      this.picture.replaceChildren(s("svg", { viewBox: `0 0 ${w} ${t}`, role: "img" }, base, this.over));
    }
    const label = this.#label();
    this.picture.firstElementChild?.setAttribute("aria-label", `Film ${n}: ${label.name}`);
    this.over.replaceChildren();
    if (this.agreed?.outline && !this.hidden.has("")) {
      for (const kind of ["halo", "agreed"]) this.over.append(s("path", { class: kind, d: this.agreed.outline, stroke: kind === "halo" ? "#000000" : AGREED }));
    }
    for (const who of this.film.readers) {
      if (!this.hidden.has(who)) this.over.append(this.#reader(label.readers[who], this.#color(who), scale, w));
    }
  }

  /** @param {any} said @param {string} color @param {number} scale @param {number} width */
  #reader(said, color, scale, width) {
    const group = s("g", { stroke: color, fill: "none", class: "reader" });
    if (said.outline) group.append(s("path", { d: said.outline }));
    const size = width / 70;
    for (const [x, y] of said.points) {
      const [a, b] = [x * scale, y * scale];
      group.append(s("path", { d: `M${a - size} ${b}H${a + size}M${a} ${b - size}V${b + size}` }), s("circle", { cx: a, cy: b, r: size / 2 }));
    }
    for (const line of said.lines) {
      for (const end of [line.upper, line.lower]) {
        const [[x1, y1], [x2, y2]] = end;
        group.append(s("line", { x1: x1 * scale, y1: y1 * scale, x2: x2 * scale, y2: y2 * scale }));
      }
    }
    return group;
  }

  /** @param {string} why there is no consensus */
  #offer(why) {
    const label = this.#label();
    this.choices.replaceChildren(
      this.#pages(),
      this.#chips("Label", this.film.labels.map((/** @type {any} */ l) => [l.code, l.name, !this.#anybody(l)]), this.label, (code) => {
        this.label = code;
        this.#choose();
      }),
      this.#readers(label),
      ...(label.area ? [this.#consensus(label, why)] : []),
      this.#pairs(label),
    );
  }

  #pages() {
    const step = (/** @type {number} */ by, /** @type {string} */ text, /** @type {string} */ name) =>
      h("button", { type: "button", "aria-label": name, disabled: !this.films[this.place + by], on: { click: () => this.go(this.place + by) }, text });
    const films = this.films.map((film, place) => h("option", { value: place, selected: place === this.place, text: `Film ${film.number}` }));
    const list = h("select", { "aria-label": "Film", on: { change: (/** @type {any} */ event) => this.go(Number(event.target.value)) } }, ...films);
    return h("div", { class: "pages" }, step(-1, "←", "Film before"), list, step(1, "→", "Next film"), h("span", { class: "muted", text: `${this.place + 1} of ${this.films.length}` }));
  }

  /** @param {string} name @param {[string, string, boolean][]} all @param {string} chosen @param {(code: string) => void} choose */
  #chips(name, all, chosen, choose) {
    const chips = all.map(([code, text, faint]) =>
      h("button", { type: "button", class: faint ? "chip faint" : "chip", "aria-pressed": String(code === chosen), on: { click: () => choose(code) }, text }),
    );
    return h("div", { class: "chips", role: "group", "aria-label": name }, ...chips);
  }

  /** @param {any} label */
  #readers(label) {
    const rows = this.film.readers.map((/** @type {string} */ who) => {
      const said = label.readers[who];
      const degrees = said.lines.map((/** @type {any} */ l) => `${number(l.degrees, 1)}°`).join(", ");
      const area = label.area && said.state === "drawn" && said.percent !== null ? `${number(said.percent, 2)} % of the film` : "";
      const state = { drawn: degrees || area || "drawn", nothing: "nothing to mark", open: "left open" }[/** @type {string} */ (said.state)];
      return h("tr", {}, h("th", { scope: "row", class: "left" }, this.#toggle(who, who, this.#color(who))), h("td", { class: "left", text: state ?? "" }), ...this.#rates(who));
    });
    const rates = this.agreed && Object.keys(this.agreed.rates).length;
    const heads = ["reader", "drew", ...(rates ? ["sensitivity", "specificity"] : [])];
    const head = h("tr", {}, ...heads.map((text, place) => h("th", { scope: "col", class: place < 2 ? "left" : null, text })));
    return h("table", { class: "small" }, h("thead", {}, head), h("tbody", {}, ...rows));
  }

  /** @param {string} who */
  #rates(who) {
    if (!this.agreed || !Object.keys(this.agreed.rates).length) return [];
    const found = this.agreed.rates[who];
    return ["sensitivity", "specificity"].map((name) => h("td", { title: found?.reason ?? null, text: number(found?.[name] ?? null, 3) }));
  }

  /** @param {string} key @param {string} name @param {string} color */
  #toggle(key, name, color) {
    const box = h("input", {
      type: "checkbox",
      checked: !this.hidden.has(key),
      on: {
        change: () => {
          if (!this.hidden.delete(key)) this.hidden.add(key);
          this.#draw();
        },
      },
    });
    return h("label", { class: "shown" }, box, swatch(color), name);
  }

  /** @param {any} label @param {string} why */
  #consensus(label, why) {
    const chips = this.#chips("Consensus", Object.entries(METHODS).map(([code, text]) => [code, text, false]), this.method, (code) => {
      this.method = code;
      this.#choose();
    });
    const own = this.method === "staple" ? "STAPLE's own estimates" : "against this consensus, in which the own drawing has a part";
    const said = why || (this.agreed?.mask ? `Sensitivity and specificity: ${own}; over ${this.agreed.domain}.` : "Nobody drew this label here." );
    const alone = this.film.readers.length < 2 ? "One reader only: there is no consensus." : said;
    return h("div", { class: "consensus" }, this.#toggle("", "Consensus", AGREED), chips, h("p", { class: "muted", text: alone }));
  }

  /** Every pair of readers on this film. @param {any} label */
  #pairs(label) {
    const mine = this.film.measures.filter((/** @type {any} */ m) => m.label === label.code && m.readers.length === 2 && m.measure in PAIR);
    const names = [...new Set(mine.filter((/** @type {any} */ m) => m.value !== null).map((/** @type {any} */ m) => m.measure))];
    if (!names.length) return h("p", { class: "muted", text: mine[0]?.reason ? `No pair can be measured: ${mine[0].reason}.` : "" });
    const pairs = [...new Set(mine.map((/** @type {any} */ m) => m.readers.join(" – ")))];
    const rows = pairs.map((pair) => {
      const cells = names.map((name) => {
        const found = mine.filter((/** @type {any} */ m) => m.measure === name && m.readers.join(" – ") === pair);
        return h("td", { title: found[0]?.reason ?? null, text: found.map((/** @type {any} */ m) => number(m.value, PAIR[name][1])).join(", ") });
      });
      return h("tr", {}, h("th", { scope: "row", class: "left", text: pair }), ...cells);
    });
    const head = h("tr", {}, h("th", { scope: "col", class: "left", text: "this film" }), ...names.map((name) => h("th", { scope: "col", text: PAIR[name][0] })));
    return h("table", { class: "small" }, h("thead", {}, head), h("tbody", {}, ...rows));
  }
}
