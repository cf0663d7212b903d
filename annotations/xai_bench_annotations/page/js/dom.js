/** Elements are built from text nodes and attributes only, so that no label or note can become markup or script. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * A new element. `on` holds event listeners; true and false set and leave out an attribute; everything else is one.
 * @param {string} tag @param {Record<string, any>} [props] @param {...(Node | string | null)} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "text") element.textContent = value;
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** One of the pictures in index.html. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A small square in a label's color; a style attribute would be blocked. @param {string} color */
export function swatch(color) {
  const square = h("span", { class: "swatch", "aria-hidden": "true" });
  square.style.backgroundColor = color;
  return square;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Says something briefly at the edge of the screen, and to screen readers. @param {string} text @param {"info" | "error"} [kind] */
export function toast(text, kind = "info") {
  const box = byId("toasts");
  const note = h("p", { class: `toast ${kind}`, text });
  box.append(note);
  while (box.children.length > 3) box.firstChild.remove();
  setTimeout(() => note.remove(), kind === "error" ? 9000 : 4000);
}

/** "1 film", "2 films". @param {number} n @param {string} thing */
export const counted = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
