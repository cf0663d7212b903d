/** The films of a project in the reader's own order, what state they are in, and where to go on. */
import { iconButton, help } from "./dialogs.js";
import { byId, counted, h, icon } from "./dom.js";

const STATES = { not_started: "Not started", in_progress: "In progress", done: "Done", flagged: "Flagged" };
const FILTERS = [["all", "All"], ["todo", "To do"], ["done", "Done"], ["flagged", "Flagged"]]; // prettier-ignore

/** @param {any} reading @param {string} filter */
const passes = (reading, filter) => filter === "all" || reading.state === filter || (filter === "todo" && (reading.state === "not_started" || reading.state === "in_progress"));

export class Worklist {
  /** @param {{me: any, projects: any[], project: any, readings: any[], unsaved: Set<string>, open: (id: string) => void, choose: (id: string) => void, logOut: () => void, admin: HTMLElement | null}} parts */
  constructor(parts) {
    this.parts = parts;
    this.filter = "all";
    this.render();
  }

  render() {
    const { me, project, readings } = this.parts;
    const top = h(
      "header",
      { class: "top" },
      h("img", { class: "logo", src: "/page/icon.svg", alt: "" }),
      h("strong", { text: "xai-bench annotate" }),
      h("span", { class: "gap" }),
      h("span", { class: "muted", text: me.name }),
      iconButton("help", "Keys and mouse (?)", help, { id: "list-help" }),
      iconButton("theme", "Light or dark", () => globalThis.toggleTheme(), { id: "list-theme" }),
      h("button", { id: "logout", class: "quiet", on: { click: this.parts.logOut } }, icon("logout"), "Log out"),
    );
    const body = project ? [this.#projects(), this.#head(), ...(readings.length ? [this.#filters(), this.#films()] : [])] : [h("p", { class: "empty", text: me.role === "admin" ? "There is no project yet." : "No film has been given to you yet. The person who invited you can do that." })];
    byId("worklist").replaceChildren(top, h("div", { class: "page" }, ...body.filter(Boolean), this.parts.admin));
  }

  #projects() {
    const { projects, project, choose } = this.parts;
    if (projects.length < 2) return null;
    return h("nav", { class: "projects", "aria-label": "Projects" }, ...projects.map(({ id, name }) => h("button", { class: "chip", "aria-pressed": String(id === project.id), text: name, on: { click: () => choose(id) } })));
  }

  #head() {
    const { project, readings, open } = this.parts;
    const next = readings.find(({ state }) => state === "in_progress") ?? readings.find(({ state }) => state === "not_started");
    const done = readings.filter(({ state }) => state === "done").length;
    const text = readings.length ? `${done} of ${counted(readings.length, "film")} done` : `${counted(project.films, "film")}; none of them is yours to read.`;
    const go = next && h("button", { id: "continue", class: "primary large", on: { click: () => open(next.id) } }, done || next.state === "in_progress" ? `Continue with film ${readings.indexOf(next) + 1}` : "Start with film 1", icon("right"));
    const finished = !next && readings.length > 0 && h("p", { class: "finished", text: "All films are done. Thank you!" });
    const instructions = project.instructions && h("details", { class: "instructions", open: !done }, h("summary", { text: "Instructions" }), h("p", { text: flowing(project.instructions) }));
    return h("section", { class: "head" }, h("div", {}, h("h1", { text: project.name }), h("p", { class: "muted", text }), readings.length ? this.#progress() : null, instructions || null), go || finished || null);
  }

  #progress() {
    const { readings } = this.parts;
    const bar = h("div", { class: "progress", role: "img" });
    const words = [];
    for (const state of ["done", "flagged", "in_progress", "not_started"]) {
      const count = readings.filter((reading) => reading.state === state).length;
      if (!count) continue;
      const part = h("span", { "data-state": state });
      part.style.flexGrow = String(count);
      bar.append(part);
      words.push([state, `${count} ${STATES[/** @type {"done"} */ (state)].toLowerCase()}`]);
    }
    bar.setAttribute("aria-label", words.map(([, word]) => word).join(", "));
    return h("div", {}, bar, h("p", { class: "legend" }, ...words.map(([state, word]) => h("span", { "data-state": state, text: word }))));
  }

  #filters() {
    const { readings } = this.parts;
    const chips = FILTERS.map(([key, name]) => {
      const count = readings.filter((reading) => passes(reading, key)).length;
      const choose = () => {
        this.filter = key;
        this.render();
        /** @type {HTMLElement | null} */ (document.querySelector(`[data-filter="${key}"]`))?.focus();
      };
      return h("button", { class: "chip", "data-filter": key, "aria-pressed": String(this.filter === key), on: { click: choose } }, `${name} ${count}`);
    });
    return h("div", { class: "chips filters", role: "group", "aria-label": "Which films" }, ...chips);
  }

  #films() {
    const { readings, unsaved, open } = this.parts;
    const cards = readings.map((reading, i) => {
      if (!passes(reading, this.filter)) return null;
      const { image, state, annotations, nothing_in: nothing } = reading;
      const said = [annotations ? counted(annotations, "drawing") : "", nothing.length ? `${nothing.length} × nothing` : ""].filter(Boolean).join(", ");
      return h(
        "li",
        {},
        h(
          "button",
          { class: "card", "data-reading": reading.id, "data-state": state, on: { click: () => open(reading.id) } },
          h("span", { class: "thumb" }, h("img", { src: `/api/v1/images/${image.id}/thumbnail`, alt: "", loading: "lazy" })),
          h("span", { class: "line" }, h("strong", { text: `Film ${i + 1}` }), h("span", { class: "pill", "data-state": state, text: STATES[state] })),
          h("span", { class: "line muted", text: unsaved.has(reading.id) ? "NOT SAVED yet" : said || "nothing drawn" }),
        ),
      );
    });
    return h("ul", { class: "films" }, ...cards.filter(Boolean));
  }
}

/** Lines that belong to one paragraph joined; empty lines and lists stay. @param {string} text */
const flowing = (text) => text.trim().replace(/([^\n])\n(?![\n\-*•\d ])/g, "$1 ");
