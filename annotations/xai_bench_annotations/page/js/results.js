/** The results of a project: every film's readers over each other with their consensus, and the agreement tables. */

import { Api, Refused } from "./api.js";
import { byId, h } from "./dom.js";
import { FilmView } from "./results_film.js";
import { tables } from "./results_tables.js";

const api = new Api();

/** @param {...(Node | null)} parts */
function show(...parts) {
  byId("results").replaceChildren(...parts.filter((part) => part !== null));
}

/** What stands in place of results that cannot be shown. @param {string} title @param {string} sentence */
const instead = (title, sentence) => h("section", { class: "instead" }, h("h1", { text: title }), h("p", { text: sentence }), h("p", {}, h("a", { href: "/", text: "To the login and the films" })));

/** @param {unknown} error */
function refused(error) {
  if (!(error instanceof Refused)) return instead("The server cannot be reached", "Check that it runs, then reload this page.");
  if (error.status === 401) return instead("Log in first", "Results are shown to an admin.");
  if (error.status === 403) return instead("Results are for admins", "Readers must not see each other's work.");
  if (error.status === 423) return instead("Not yet", error.message);
  return instead("There is nothing to show", error.message);
}

/** @param {{id: string, name: string, films: number, readers: {name: string, states: Record<string, number>}[] | null}[]} projects */
const chooser = (projects) =>
  h(
    "section",
    { class: "instead" },
    h("h1", { text: projects.length ? "Results of which project?" : "There is no project yet" }),
    h("ul", {}, ...projects.map((p) => h("li", {}, h("a", { href: `?project=${encodeURIComponent(p.id)}`, text: p.name }), ` ${progress(p)}`))),
  );

/** @param {{films: number, readers: {name: string, states: Record<string, number>}[] | null}} project */
const progress = (project) =>
  [`${project.films} films`, ...(project.readers ?? []).map((r) => `${r.name} ${r.states.done} done`)].join(", ");

/** @param {string} project */
async function results(project) {
  const path = `/projects/${project}/agreement`;
  const [found, about] = await Promise.all([api.get(`${path}?tables=false`), api.get(`/projects/${project}`)]);
  document.title = `Results of ${found.project} · xai-bench annotate`;
  const out = found.left_out.length;
  const measuring = h("div", {}, h("p", { class: "muted", text: "Measuring; this takes a while when drawings are new ..." }));
  const film = new FilmView(api, found.films, about.labels.labels);
  show(
    h("h1", { text: found.project }),
    h("dl", { class: "facts" }, fact(found.films.length, "films read by all of their readers"), fact(out, "films that do not count yet"), fact((about.readers ?? []).length, "readers")),
    out ? leftOut(found.left_out) : null,
    film.element,
    h("h2", { text: "How well do the readers agree?" }),
    measuring,
  );
  await film.start();
  const agreed = await api.get(path);
  measuring.replaceChildren(...agreed.notes.map((/** @type {string} */ note) => h("p", { class: "basis", text: note })), ...tables(agreed.tables));
}

/** @param {number} value @param {string} what */
const fact = (value, what) => h("div", {}, h("dt", { text: what }), h("dd", { text: String(value) }));

/** @param {{number: number, reason: string}[]} films */
const leftOut = (films) =>
  h(
    "details",
    { class: "left-out" },
    h("summary", { text: "Which films do not count yet, and why" }),
    h("ul", {}, ...films.map((f) => h("li", { text: `Film ${f.number}: ${f.reason}.` }))),
  );

async function main() {
  byId("theme").addEventListener("click", () => /** @type {any} */ (globalThis).toggleTheme());
  show(h("p", { class: "muted", text: "Loading ..." }));
  const project = new URLSearchParams(location.search).get("project");
  try {
    if (project) await results(encodeURIComponent(project));
    else show(chooser(await api.get("/projects")));
  } catch (error) {
    show(refused(error));
  }
}

main();
