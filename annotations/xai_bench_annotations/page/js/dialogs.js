/** Questions to the reader. Each returns a promise of the answer; Escape answers null. */
import { h, icon, swatch } from "./dom.js";
import { boxOf, cobbAngle, points, rings } from "./geometry.js";
import { GROUPS, MOUSE } from "./keys.js";
import { boxOfMask } from "./mask.js";
import { kindTitle } from "./tools/all.js";

/**
 * @param {string} name @param {string} title @param {Node[]} content @param {(close: (answer: any) => void) => Node[]} buttons
 * @returns {Promise<any>}
 */
export function ask(name, title, content, buttons) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: name, "data-dialog": name, "aria-label": title });
    const close = (/** @type {any} */ answer) => {
      dialog.close();
      dialog.remove();
      before?.focus?.({ preventScroll: true });
      resolve(answer);
    };
    const heading = h("h2", { text: title, ...(name === "help" ? { tabindex: "-1", autofocus: true } : {}) });
    dialog.append(heading, ...content, h("div", { class: "buttons" }, ...buttons(close)));
    dialog.addEventListener("cancel", (event) => (event.preventDefault(), close(null)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** @param {string} text @param {() => void} click @param {string} [kind] */
export const button = (text, click, kind = "") => h("button", { class: kind, type: "button", text, on: { click } });

/** All shortcuts, from the table that runs them. */
export function help() {
  if (document.querySelector("dialog.help")) return Promise.resolve(null);
  const rows = (/** @type {any[]} */ all) => all.flatMap(([keys, does]) => [h("dt", {}, ...keys.split(" ").map((key) => (/^(…|and|on|a)$/.test(key) ? h("span", { text: ` ${key} ` }) : h("kbd", { text: key })))), h("dd", { text: does })]);
  const groups = GROUPS.map(({ title, keys }) => h("section", {}, h("h3", { text: title }), h("dl", {}, ...rows(keys.map((key) => [key.shown ?? key.keys.map(shown).join(" "), key.does])))));
  const mouse = h("section", {}, h("h3", { text: "Mouse" }), h("dl", {}, ...MOUSE.flatMap(([what, does]) => [h("dt", { class: "words", text: what }), h("dd", { text: does })])));
  return ask("help", "Keys and mouse", [h("div", { class: "columns" }, mouse, ...groups)], (close) => [button("Close", () => close(null), "primary")]);
}

/** @param {string} key */
const shown = (key) => (key.length === 1 ? key.toUpperCase() : key);

/** Which labels still need an answer. @param {any[]} labels @returns {Promise<"nothing" | null>} */
export function missing(labels) {
  const list = h("ul", { class: "missing" }, ...labels.map((label) => h("li", {}, swatch(label.color), label.name)));
  const [text, all] = labels.length > 1 ? ["These labels need an answer: draw them, or say that there is nothing to mark.", " in all of them"] : ["This label needs an answer: draw it, or say that there is nothing to mark.", ""];
  return ask("missing", "Not done yet", [h("p", { text }), list], (close) => [button(`Nothing to mark${all}`, () => close("nothing")), button("Back to the film", () => close(null), "primary")]);
}

/** Why a film is put aside. @param {string} reason @returns {Promise<string | null>} */
export function flag(reason) {
  const input = h("textarea", { rows: 3, maxlength: 2000, "aria-label": "Reason", placeholder: "For example: wrong body part, hardware hides the spine" });
  input.value = reason;
  const text = "The film is put aside and somebody looks at it. You can come back to it.";
  return ask("flag", "Flag this film", [h("p", { text }), input], (close) => [button("Cancel", () => close(null)), button("Flag the film", () => close(input.value.trim()), "primary")]);
}

/** Two versions of one drawing. @param {import("./desk.js").Desk} desk @param {any} mine @param {any} theirs @param {string} when */
export function conflict(desk, mine, theirs, when) {
  const card = (/** @type {string} */ title, /** @type {any} */ drawing, /** @type {string} */ detail) =>
    h("figure", {}, h("figcaption", { text: title }), preview(desk, drawing, [mine, theirs]), h("p", { text: words(desk, drawing) }), h("small", { text: detail }));
  const text = "This drawing was also changed in another tab or on another computer. Which one is to be kept?";
  return ask(
    "conflict",
    "Two versions of one drawing",
    [h("p", { text }), h("div", { class: "two" }, card("Mine, on this page", mine, "not saved yet"), card("The other one", theirs, `saved ${when}`))],
    (close) => [button("Keep mine", () => close("mine"), "primary"), button("Take the other", () => close("theirs")), button("Decide later", () => close(null), "quiet")],
  );
}

/** @param {import("./desk.js").Desk} desk @param {any} drawing */
function words(desk, drawing) {
  if (!drawing) return "deleted";
  const more = [drawing.confidence ? `confidence ${drawing.confidence}` : "", drawing.note ? `“${drawing.note.slice(0, 80)}”` : ""].filter(Boolean);
  return [desk.labelOf(drawing.label).name, kindTitle(drawing.geometry.kind), drawing.geometry.kind === "cobb" ? `${cobbAngle(drawing.geometry.upper, drawing.geometry.lower).toFixed(1)}°` : "", ...more].filter(Boolean).join(" · ");
}

/** A small picture of the film around both versions, with one of them. */
function preview(desk, drawing, both) {
  const canvas = h("canvas", { width: 300, height: 220 });
  const boxes = both.filter(Boolean).flatMap(({ geometry }) => (geometry.kind === "mask" ? corners(boxOfMask(geometry)) : points(geometry)));
  const box = boxOf(boxes);
  const scale = Math.min(260 / (box.width + 40), 180 / (box.height + 40), 8);
  const context = canvas.getContext("2d");
  context.translate(150 - (box.x + box.width / 2) * scale, 110 - (box.y + box.height / 2) * scale);
  context.scale(scale, scale);
  context.drawImage(desk.film.still(desk.table), 0, 0, desk.size.width, desk.size.height);
  if (drawing) outline(context, desk, drawing, scale);
  return canvas;
}

const corners = (r) => [[r.x, r.y], [r.x + r.width, r.y + r.height]]; // prettier-ignore

function outline(context, desk, drawing, scale) {
  const { geometry } = drawing;
  [context.strokeStyle, context.fillStyle, context.lineWidth] = [desk.labelOf(drawing.label).color, `${desk.labelOf(drawing.label).color}66`, 2 / scale];
  context.beginPath();
  const lines = geometry.kind === "cobb" ? [geometry.upper, geometry.lower] : rings(geometry);
  for (const line of lines) {
    line.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (geometry.kind !== "cobb") context.closePath();
  }
  if (geometry.kind === "landmark") context.arc(...geometry.at, 5 / scale, 0, 7);
  if (geometry.kind === "mask") fillPixels(context, desk.rasters.get(geometry));
  if (lines.length && geometry.kind !== "cobb") context.fill("evenodd");
  context.stroke();
}

function fillPixels(context, raster) {
  for (let row = 0; row < raster.height; row++) {
    for (let column = 0, from = -1; column <= raster.width; column++) {
      const on = column < raster.width && raster.data[row * raster.width + column];
      if (on && from < 0) from = column;
      if (!on && from >= 0) [from] = [(context.fillRect(raster.x + from, raster.y + row, column - from, 1), -1)];
    }
  }
}

/** Log in again without leaving the film. @param {(name: string, password: string) => Promise<void>} logIn @param {string} name */
export function loginAgain(logIn, name) {
  const password = h("input", { type: "password", autocomplete: "current-password", "aria-label": "Password" });
  const error = h("p", { class: "error", role: "alert" });
  const text = `Your login has ended. Nothing is lost: what is not saved is kept in this browser. Log in again as ${name}.`;
  return ask("login-again", "Log in again", [h("p", { text }), password, error], (close) => {
    const go = () => logIn(name, password.value).then(() => close(true), (reason) => (error.textContent = reason.message)); // prettier-ignore
    password.addEventListener("keydown", (event) => event.key === "Enter" && go());
    return [button("Log in", go, "primary"), button("To the login page", () => location.assign("/"), "quiet")];
  });
}

/** @param {string} name @param {string} title @param {() => void} click */
export const iconButton = (name, title, click, more = {}) => h("button", { class: "icon-button", title, "aria-label": title, on: { click }, ...more }, icon(name));
