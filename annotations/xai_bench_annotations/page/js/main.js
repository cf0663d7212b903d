/** Which screen is shown. The address's #film/ID names the open film, so that a reload comes back to it. */
import { Admin } from "./admin.js";
import { Api, Refused, Unreachable } from "./api.js";
import { help } from "./dialogs.js";
import { byId, h, toast } from "./dom.js";
import { logIn } from "./login.js";
import { MemoryQueue, Queue } from "./queue.js";
import { Reader } from "./reader.js";
import { sendLeftovers } from "./sync.js";
import { Worklist } from "./worklist.js";

const api = new Api();
const ahead = {}; // the pixels of the next film
/** @type {any} */
let me = null;
/** @type {any} */
let queue = null;
/** @type {Reader | null} */
let reader = null;
let turn = 0; // a screen that was asked for later wins

function show(/** @type {string} */ name) {
  for (const screen of document.querySelectorAll("main.screen")) screen.toggleAttribute("hidden", screen.id !== name);
  document.body.dataset.screen = name;
}

async function start() {
  const invite = new URLSearchParams(location.search).get("invite");
  if (invite) history.replaceState(null, "", "/");
  me = invite ? null : await whoIsIt();
  if (!me) {
    show("login");
    me = await logIn(api, invite);
  }
  api.enter(me);
  queue = new Queue(me.id);
  await queue.opened.catch(() => {
    queue = new MemoryQueue();
    toast("This browser keeps nothing: do not close the page before it says “Saved”.", "error");
  });
  addEventListener("hashchange", route);
  addEventListener("keydown", (event) => event.key === "?" && document.body.dataset.screen === "worklist" && help());
  await route();
}

async function whoIsIt() {
  try {
    return await api.get("/me");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return null;
    throw error;
  }
}

async function route() {
  const mine = ++turn;
  const [what, id] = location.hash.slice(1).split("/");
  if (reader) await reader.close();
  reader = null;
  if (mine !== turn) return;
  try {
    if (what === "film" && id) await openFilm(id, mine);
    else await openWorklist(what === "project" ? id : null, mine);
  } catch (error) {
    failed(error);
  }
}

/** @param {string | null} wanted @param {number} mine */
async function openWorklist(wanted, mine) {
  await sendLeftovers(api, queue).catch(() => {});
  const projects = await api.get("/projects");
  const project = projects.find((/** @type {any} */ one) => one.id === wanted) ?? projects.find((/** @type {any} */ one) => one.states.not_started + one.states.in_progress) ?? projects[0];
  const readings = project ? await api.get(`/assignments?project=${project.id}`) : [];
  const unsaved = new Set((await queue.all().catch(() => [])).map((/** @type {any} */ entry) => entry.assignment));
  if (mine !== turn) return;
  show("worklist");
  const choose = (/** @type {string} */ id) => (location.hash = `project/${id}`);
  const admin = me.role === "admin" ? new Admin({ api, project, again: route }).element : null;
  new Worklist({ me, projects, project, readings, unsaved, open, choose, logOut, admin });
}

/** @param {string} id @param {number} mine */
async function openFilm(id, mine) {
  const { project, readings, reading } = await findReading(id);
  if (mine !== turn) return;
  if (!reading) return leave();
  show("desk");
  const toProject = () => (location.hash = `project/${project.id}`);
  reader = new Reader({ api, queue, me, project, readings, reading, leave: toProject, open, ahead });
  await reader.start();
}

/** @param {string} id */
async function findReading(id) {
  for (const project of await api.get("/projects")) {
    const readings = await api.get(`/assignments?project=${project.id}`);
    const reading = readings.find((/** @type {any} */ one) => one.id === id);
    if (reading) return { project, readings, reading };
  }
  return {};
}

const open = (/** @type {string} */ id) => (location.hash = `film/${id}`);
const leave = () => (location.hash = "");

async function logOut() {
  const left = await queue.all().catch(() => []);
  if (left.length && !confirm("Some drawings are not saved yet. They stay in this browser until you log in here again. Log out?")) return;
  await api.call("DELETE", "/session").catch(() => {});
  location.assign("/");
}

/** @param {unknown} error */
function failed(error) {
  if (error instanceof Refused && error.status === 401) return location.assign("/");
  const text = error instanceof Unreachable ? "The server cannot be reached." : error instanceof Error ? error.message : String(error);
  const again = h("button", { class: "primary", text: "Try again", on: { click: () => location.reload() } });
  const back = h("button", { text: "To the films", on: { click: leave } });
  show("login");
  byId("login").replaceChildren(h("div", { class: "box" }, h("h1", { text: "This did not work" }), h("p", { class: "error", text }), h("div", { class: "buttons" }, again, back)));
  if (!(error instanceof Unreachable) && !(error instanceof Refused)) console.error(error);
}

start().catch(failed);
