/**
 * All shortcuts, in one table: what a key does and what the help says about it cannot differ.
 * @typedef {{keys: string[], shown?: string, does: string, run: (at: any, event: KeyboardEvent) => void}} Shortcut
 */
import { TOOLS } from "./tools/all.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @type {{title: string, keys: Shortcut[]}[]} */
export const GROUPS = [
  { title: "Tools", keys: TOOLS.map((tool) => ({ keys: [tool.key], does: tool.title, run: ({ desk }) => desk.takeTool(tool.name) })) },
  {
    title: "Drawing",
    keys: [
      { keys: ["Enter"], does: "Close the area (also: its first point, or a double click)", run: ({ desk, input }) => enter(desk, input) },
      { keys: ["Backspace"], does: "Take back the last point; with Edit: delete", run: ({ desk }) => back(desk) },
      { keys: ["Escape"], shown: "Esc", does: "Cancel; let go of what is chosen; back to Edit", run: ({ desk, input }) => escape(desk, input) },
      { keys: ["Delete"], does: "Delete the chosen point or drawing", run: ({ desk }) => remove(desk) },
      { keys: ["ctrl+z"], shown: "Ctrl Z", does: "Undo", run: ({ desk }) => desk.undo() },
      { keys: ["ctrl+y", "ctrl+shift+z"], shown: "Ctrl Y", does: "Redo", run: ({ desk }) => desk.redo() },
      { keys: ["["], does: "Smaller brush", run: ({ desk }) => desk.resizeBrush(1 / 1.25) },
      { keys: ["]"], does: "Larger brush", run: ({ desk }) => desk.resizeBrush(1.25) },
      { keys: ["n"], does: "Nothing to mark of the label in hand", run: ({ desk }) => desk.toggleNothing(desk.label) },
    ],
  },
  {
    title: "Labels",
    keys: [
      { keys: "123456789".split("").map((d) => `digit${d}`), shown: "1 … 9", does: "Take the label, for what is drawn next", run: ({ desk }, event) => label(desk, event) },
      { keys: ["t"], does: "Give the chosen drawing the label in hand", run: ({ desk }) => relabel(desk) },
      { keys: ["j"], does: "Choose the next drawing", run: ({ desk }) => choose(desk, 1) },
      { keys: ["k"], does: "Choose the drawing before", run: ({ desk }) => choose(desk, -1) },
    ],
  },
  {
    title: "View",
    keys: [
      { keys: ["+", "="], shown: "+", does: "Zoom in (also: wheel, two fingers)", run: ({ desk }) => desk.zoom(1.25) },
      { keys: ["-"], does: "Zoom out", run: ({ desk }) => desk.zoom(0.8) },
      { keys: ["0", "Home"], does: "Fit the whole film", run: ({ desk }) => desk.fit() },
      { keys: ["i"], does: "Invert", run: ({ desk }) => desk.setWindow({ invert: !desk.window.invert }) },
      { keys: ["w"], does: "Reset the window", run: ({ desk }) => (desk.setWindow({ invert: false }), desk.preset(0)) },
      { keys: ["a"], does: "Automatic window", run: ({ desk }) => desk.preset(desk.presets.findIndex((/** @type {any} */ p) => p.name === "Auto")) },
      { keys: "12345".split("").map((d) => `shift+digit${d}`), shown: "Shift 1 … 5", does: "Window presets", run: ({ desk }, event) => desk.preset(Number(event.code.at(-1)) - 1) },
      { keys: ["o"], does: "More opaque", run: ({ desk }) => opacity(desk, 0.1) },
      { keys: ["shift+o"], shown: "Shift O", does: "Less opaque", run: ({ desk }) => opacity(desk, -0.1) },
      { keys: ["h"], does: "Hide or show the drawings", run: ({ desk }) => desk.setShown({ hidden: !desk.hidden }) },
      { keys: ["x"], does: "Crosshair", run: ({ desk }) => desk.setShown({ cross: !desk.cross }) },
    ],
  },
  {
    title: "Without a mouse",
    keys: [
      { keys: Object.keys(ARROWS).flatMap((key) => [key, `shift+${key}`, `ctrl+${key}`]), shown: "Arrows", does: "Move the cross, or what is chosen (Shift: far, Ctrl: one pixel)", run: ({ input }, event) => input.arrow(...ARROWS[/** @type {"ArrowUp"} */ (event.key)], event) },
      { keys: [" "], shown: "Space", does: "Click at the cross; brush and freehand: begin and end", run: ({ input, desk }) => space(desk, input) },
      { keys: ["."], does: "Next point of the chosen drawing", run: ({ desk }) => vertex(desk, 1) },
      { keys: [","], does: "Point before", run: ({ desk }) => vertex(desk, -1) },
      { keys: ["Insert"], does: "New point after the chosen one", run: ({ desk }) => insert(desk) },
    ],
  },
  {
    title: "Films",
    keys: [
      { keys: ["PageDown"], shown: "Page down", does: "Next film", run: ({ go }) => go(1) },
      { keys: ["PageUp"], shown: "Page up", does: "Film before", run: ({ go }) => go(-1) },
      { keys: ["ctrl+Enter"], shown: "Ctrl Enter", does: "Film is done, next film", run: ({ finish }) => finish() },
      { keys: ["?"], does: "This help", run: ({ help }) => help() },
    ],
  },
];

/** What the mouse does; for the help. */
export const MOUSE = [
  ["Left button", "Draw, choose, drag"],
  ["Right button, dragged", "Window: sideways contrast, up and down brightness"],
  ["Wheel", "Zoom at the pointer"],
  ["Middle button, or Space and drag", "Move the film"],
  ["Alt click on a point", "Delete the point (Edit)"],
  ["Drag a small point", "Put in a new point (Edit)"],
];

const TABLE = new Map(GROUPS.flatMap((group) => group.keys).flatMap((shortcut) => shortcut.keys.map((key) => [key.toLowerCase(), shortcut])));

/** The table's names for a key, the most exact first. @param {KeyboardEvent} event */
export function namesOf(event) {
  const command = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const shift = event.shiftKey ? "shift+" : "";
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code ?? "");
  const names = [`${command}${shift}${event.key}`, `${command}${event.key.length === 1 && !/[a-z]/i.test(event.key) ? event.key : `${shift}${event.key}`}`];
  return [...(digit ? [`${command}${shift}digit${digit[1]}`] : []), ...names].map((name) => name.toLowerCase());
}

/** What a key does, if anything. @param {KeyboardEvent} event @returns {Shortcut | undefined} */
export const shortcutOf = (event) => (event.altKey ? undefined : namesOf(event).map((name) => TABLE.get(name)).find(Boolean));

/** Whether a key belongs to what has the focus: text, choices, or a button that it presses. @param {KeyboardEvent} event */
export function belongsElsewhere(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (document.querySelector("dialog[open]")) return true;
  if (target.matches("textarea, select, input:not([type=range]):not([type=checkbox]):not([type=radio])")) return true;
  if (target.matches("input") && (event.key.startsWith("Arrow") || event.key === " ")) return true;
  return target.matches("button, a, summary, [role=button]") && (event.key === "Enter" || event.key === " ") && !event.ctrlKey;
}

function enter(desk, input) {
  if (input.held) return input.release();
  desk.tool.finish();
  desk.redraw("front");
}

function escape(desk, input) {
  input.held = false;
  if (desk.tool.busy) desk.tool.cancel();
  else if (desk.cursor?.keyboard) desk.cursor = null;
  else if (desk.selected) desk.select(null);
  else desk.takeTool("select");
  desk.redraw("front");
}

function back(desk) {
  desk.tool.back();
  desk.redraw("front");
}

function remove(desk) {
  if (desk.toolName === "select") desk.tool.back();
  else if (!desk.tool.busy && desk.selected) desk.remove(desk.selected);
  desk.redraw("front");
}

function label(desk, event) {
  const found = desk.labels.find((/** @type {any} */ one) => one.hotkey === event.code.at(-1));
  if (found) desk.takeLabel(found.code);
}

function relabel(desk) {
  const chosen = desk.store.get(desk.selected ?? "");
  if (chosen) desk.relabel(chosen, desk.labelOf(desk.label));
  else desk.say("Choose a drawing first.");
}

function choose(desk, step) {
  const all = desk.store.all();
  if (!all.length) return desk.say("Nothing is drawn yet.");
  if (desk.toolName !== "select") desk.takeTool("select");
  const at = all.findIndex((/** @type {any} */ drawing) => drawing.id === desk.selected);
  desk.cursor = null;
  desk.select(all[(Math.max(at, step < 0 ? 0 : -1) + step + all.length) % all.length].id);
}

function vertex(desk, step) {
  desk.tool.nextVertex?.(step);
  desk.redraw("front");
}

function insert(desk) {
  desk.tool.insertAfter?.();
  desk.redraw("front");
}

function opacity(desk, change) {
  desk.setShown({ opacity: Math.min(1, Math.max(0, Math.round((desk.opacity + change) * 100) / 100)) });
}

function space(desk, input) {
  if (desk.cursor?.keyboard || input.held) input.press();
  else input.space = true;
}
