/** Agreement tables as the server makes them: heads, groups of rows, caption and notes. */

import { h } from "./dom.js";

/**
 * @typedef {{text: string, small: string, mark: string}} Cell
 * @typedef {{title: string, small: string, left: boolean, over: string}} Column
 * @typedef {{name: string, title: string, caption: string, columns: Column[], groups: {heading: string, rows: Cell[][]}[], footnotes: string[]}} Table
 */

/** @param {Table[]} all */
export const tables = (all) => all.map(figure);

/** @param {Table} table */
function figure(table) {
  const head = h("tr", {}, ...table.columns.map((c) => h("th", { scope: "col", class: c.left ? "left" : null }, c.title, small(c.small))));
  const bodies = table.groups.map((group) =>
    h(
      "tbody",
      {},
      group.heading ? h("tr", { class: "heading" }, h("th", { scope: "colgroup", colspan: table.columns.length, text: group.heading })) : null,
      ...group.rows.map((row) => h("tr", {}, ...row.map((cell, place) => entry(cell, table.columns[place], place)))),
    ),
  );
  return h(
    "figure",
    { class: "table", id: `table-${table.name}` },
    h("h3", { text: table.title }),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), ...bodies)),
    h(
      "figcaption",
      {},
      h("p", { text: table.caption }),
      table.footnotes.length ? h("ul", {}, ...table.footnotes.map((note) => h("li", { text: note }))) : null,
    ),
  );
}

/** @param {Cell} cell @param {Column} column @param {number} place */
function entry(cell, column, place) {
  const looks = [column.left ? "left" : "", cell.mark].filter(Boolean).join(" ") || null;
  return h(place ? "td" : "th", { scope: place ? null : "row", class: looks }, cell.text, small(cell.small));
}

/** @param {string} text */
const small = (text) => (text ? h("small", { text }) : null);
