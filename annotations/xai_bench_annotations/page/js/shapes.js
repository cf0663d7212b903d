/**
 * Drawn shapes and handles by Konva, which also says what lies under the pointer. Lines keep their width on the screen
 * and have a dark rim, so that they are seen on bone and on air alike. Konva never takes an event: input.js does.
 */
import { between, boxOf, cobbAngle, distance, handles, points } from "./geometry.js";

const Konva = /** @type {any} */ (globalThis).Konva;
const LINE = 2; // CSS pixels
const HANDLE = 4.5; // CSS pixels: radius
const RIM = "rgba(0, 0, 0, 0.65)";
const FONT = "ui-sans-serif, system-ui, sans-serif";
const CROWDED = 22; // CSS pixels: edges shorter than this show no middle point
const APART = 10; // CSS pixels: of vertices nearer than this only some show a handle, until one zooms in

export class Shapes {
  /** @param {HTMLDivElement} container */
  constructor(container) {
    this.stage = new Konva.Stage({ container, width: 1, height: 1 });
    this.back = new Konva.Layer();
    this.front = new Konva.Layer();
    this.stage.add(this.back, this.front);
    this.scale = 1;
  }

  /** @param {{width: number, height: number}} box @param {number} ratio */
  resize(box, ratio) {
    Konva.pixelRatio = ratio;
    for (const layer of [this.back, this.front]) layer.getCanvas().setPixelRatio(ratio);
    this.stage.size(box);
  }

  /** @param {import("./view.js").View} view */
  place(view) {
    this.scale = view.scale;
    for (const layer of [this.back, this.front]) layer.setAttrs({ x: view.x, y: view.y, scaleX: view.scale, scaleY: view.scale });
    for (const node of this.stage.find(".steady")) node.scale({ x: 1 / view.scale, y: 1 / view.scale });
    this.stage.batchDraw();
  }

  /** The drawings that are not being changed. @param {any[]} drawings @param {{colorOf: any, opacity: number, selected: string | null}} how */
  showDrawings(drawings, { colorOf, opacity, selected }) {
    this.back.destroyChildren();
    for (const { id, label, geometry } of drawings) {
      if (geometry.kind === "mask") continue;
      this.#shape(this.back, geometry, colorOf(label), id === selected ? Math.min(1, opacity + 0.12) : opacity, id);
    }
    this.back.batchDraw();
  }

  /** What is begun, the handles of what is chosen, the pointer's circle and cross. @param {any} what */
  showFront({ draft, color, opacity, chosen, chosenColor, vertex, tag, cursor, radius, cross, size }) {
    this.front.destroyChildren();
    if (chosen && chosen.geometry.kind !== "mask") {
      if (chosen.dragged) this.#shape(this.front, chosen.geometry, chosenColor, opacity, chosen.id);
      this.#handles(chosen, chosenColor, vertex);
    }
    if (chosen && tag) this.#tag(tag, top(chosen.box ?? boxOf(points(chosen.geometry))), chosenColor);
    if (draft) this.#draft(draft, color, opacity);
    if (cursor && draft?.kind === "brush") this.#circle(cursor, radius, draft.erase ? "#ffffff" : color);
    if (cursor && cross) this.#cross(cursor, size);
    this.front.batchDraw();
  }

  /**
   * What lies at a point of the screen. @param {import("./geometry.js").Point} at
   * @param {boolean} drawn whether what is on the screen will do, for a pointer that only hovers
   * @returns {{id: string, handle: string | null} | null}
   */
  hit([x, y], drawn = false) {
    if (!drawn) this.stage.draw();
    const node = this.stage.getIntersection({ x, y });
    return node?.getAttr("drawing") ? { id: node.getAttr("drawing"), handle: node.getAttr("handle") ?? null } : null;
  }

  /** @param {boolean} touch */
  setReach(touch) {
    this.touch = touch;
  }

  /** A geometry with its rim. @param {any} layer @param {any} geometry @param {string} color @param {number} opacity @param {string | null} id */
  #shape(layer, geometry, color, opacity, id) {
    if (geometry.kind === "landmark") return this.#landmark(layer, geometry.at, color, id);
    const closed = geometry.kind !== "cobb";
    const sceneFunc = (/** @type {any} */ context, /** @type {any} */ shape) => {
      trace(context, geometry);
      context.fillStrokeShape(shape);
    };
    const common = { sceneFunc, strokeScaleEnabled: false, lineJoin: "round", lineCap: "round", fillRule: "evenodd", perfectDrawEnabled: false };
    layer.add(new Konva.Shape({ ...common, stroke: RIM, strokeWidth: LINE + 2.5, fillEnabled: false, listening: false }));
    const fill = closed ? { fill: withAlpha(color, opacity) } : { fillEnabled: false };
    layer.add(new Konva.Shape({ ...common, ...fill, stroke: color, strokeWidth: LINE, hitStrokeWidth: 12, drawing: id }));
    if (geometry.kind === "cobb") this.#angle(layer, [geometry.upper, geometry.lower], color);
  }

  #landmark(layer, at, color, id) {
    const group = new Konva.Group({ x: at[0], y: at[1], name: "steady", scaleX: 1 / this.scale, scaleY: 1 / this.scale });
    const arms = [[-11, 0, -3, 0], [3, 0, 11, 0], [0, -11, 0, -3], [0, 3, 0, 11]]; // prettier-ignore
    for (const [stroke, width] of /** @type {[string, number][]} */ ([[RIM, 4.5], [color, 2]])) {
      for (const line of arms) group.add(new Konva.Line({ points: line, stroke, strokeWidth: width, lineCap: "round", listening: false }));
      group.add(new Konva.Circle({ radius: 7, stroke, strokeWidth: width, hitStrokeWidth: 14, fill: "rgba(0,0,0,0)", drawing: id }));
    }
    layer.add(group);
  }

  /** The angle of two lines, to the right of both, with a dotted line between their right ends. */
  #angle(layer, lines, color) {
    const [p, q] = lines.map(([a, b]) => (a[0] > b[0] ? a : b));
    layer.add(new Konva.Line({ points: [...p, ...q], stroke: color, strokeWidth: 1.2, dash: [3, 5], strokeScaleEnabled: false, listening: false, opacity: 0.8 }));
    const tag = this.#tag(`${cobbAngle(lines[0], lines[1]).toFixed(1)}°`, between(p, q), color, layer, 15);
    tag.offset({ x: -10, y: tag.height() / 2 });
  }

  #tag(text, at, color, layer = this.front, fontSize = 12) {
    const label = new Konva.Label({ x: at[0], y: at[1], name: "steady", scaleX: 1 / this.scale, scaleY: 1 / this.scale, listening: false });
    label.add(new Konva.Tag({ fill: "rgba(10, 12, 16, 0.86)", cornerRadius: 4, stroke: color, strokeWidth: 1 }));
    label.add(new Konva.Text({ text, fontFamily: FONT, fontSize, fontStyle: "600", padding: 5, fill: "#ffffff" }));
    label.offset({ x: label.width() / 2, y: label.height() + 10 });
    layer.add(label);
    return label;
  }

  #handles({ id, geometry }, color, vertex) {
    for (const handle of this.#uncrowded(handles(geometry), vertex)) {
      const active = handle.key === vertex;
      this.front.add(
        new Konva.Circle({
          x: handle.at[0], y: handle.at[1], name: "steady", scaleX: 1 / this.scale, scaleY: 1 / this.scale,
          radius: handle.middle ? 3 : active ? HANDLE + 2 : HANDLE, opacity: handle.middle ? 0.75 : 1,
          fill: active ? color : "#ffffff", stroke: active ? "#ffffff" : color, strokeWidth: handle.middle ? 1 : 2,
          hitStrokeWidth: this.touch ? 30 : 12, drawing: id, handle: handle.key,
        }),
      ); // prettier-ignore
    }
  }

  /** The handles that have room on the screen. Middles come first, in the vertices' order. */
  #uncrowded(all, vertex) {
    const first = all.findIndex((/** @type {any} */ handle) => !handle.middle);
    const apart = (/** @type {any} */ p, /** @type {any} */ q) => distance(p.at, q.at) * this.scale;
    let last = null;
    return all.filter((/** @type {any} */ handle, /** @type {number} */ i) => {
      if (handle.middle) return 2 * apart(handle, all[first + i]) >= CROWDED;
      if (last && handle.key !== vertex && apart(handle, last) < APART) return false;
      last = handle;
      return true;
    });
  }

  #draft(draft, color, opacity) {
    if (draft.kind === "rectangle") return this.#shape(this.front, draft, color, opacity, null);
    if (draft.kind === "cobb") return this.#cobbDraft(draft, color);
    if (draft.kind === "freehand") return this.#path(draft.points, color, opacity, true);
    if (draft.kind !== "polygon") return;
    const all = draft.cursor && !draft.closing ? [...draft.points, draft.cursor] : draft.points;
    this.#path(all, color, opacity, true, draft.closing);
    draft.points.forEach((p, i) => this.#dot(p, color, i === 0 ? (draft.closing ? 9 : 6) : 3.5));
  }

  #cobbDraft({ lines, angle }, color) {
    for (const line of lines) {
      this.#path(line, color, 0, false);
      for (const p of line) this.#dot(p, color, 3.5);
    }
    if (angle !== null) this.#angle(this.front, lines, color);
  }

  #path(line, color, opacity, fill, closed = false) {
    const flat = line.flat();
    const common = { points: flat, strokeScaleEnabled: false, lineJoin: "round", lineCap: "round", listening: false, closed };
    if (fill && line.length > 2) this.front.add(new Konva.Line({ points: flat, closed: true, fill: withAlpha(color, opacity * 0.6), fillRule: "evenodd", listening: false }));
    this.front.add(new Konva.Line({ ...common, stroke: RIM, strokeWidth: LINE + 2.5 }), new Konva.Line({ ...common, stroke: color, strokeWidth: LINE }));
  }

  #dot(p, color, radius) {
    const steady = { x: p[0], y: p[1], name: "steady", scaleX: 1 / this.scale, scaleY: 1 / this.scale, listening: false };
    this.front.add(new Konva.Circle({ ...steady, radius, fill: "#ffffff", stroke: color, strokeWidth: 2 }));
  }

  #circle(at, radius, color) {
    const common = { x: at[0], y: at[1], radius, strokeScaleEnabled: false, listening: false };
    this.front.add(new Konva.Circle({ ...common, stroke: RIM, strokeWidth: 3.5 }), new Konva.Circle({ ...common, stroke: color, strokeWidth: 1.5 }));
  }

  #cross([x, y], size) {
    for (const [stroke, strokeWidth] of /** @type {[string, number][]} */ ([["rgba(0,0,0,0.55)", 3], ["rgba(255,255,255,0.85)", 1]])) {
      for (const line of [[0, y, size.width, y], [x, 0, x, size.height]]) {
        this.front.add(new Konva.Line({ points: line, stroke, strokeWidth, strokeScaleEnabled: false, listening: false }));
      } // prettier-ignore
    }
  }
}

/** @param {any} box @returns {[number, number]} the middle of its upper side */
const top = (box) => [box.x + box.width / 2, box.y];

/** @param {string} color @param {number} opacity */
const withAlpha = (color, opacity) => `rgba(${[1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)).join(", ")}, ${opacity})`;

/** The outline of a geometry. @param {any} context @param {any} geometry */
function trace(context, geometry) {
  const lines = geometry.kind === "cobb" ? [geometry.upper, geometry.lower] : geometry.kind === "rectangle" ? [] : [geometry.exterior, ...geometry.holes];
  context.beginPath();
  if (geometry.kind === "rectangle") context.rect(geometry.x, geometry.y, geometry.width, geometry.height);
  for (const line of lines) {
    line.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (geometry.kind !== "cobb") context.closePath();
  }
}
