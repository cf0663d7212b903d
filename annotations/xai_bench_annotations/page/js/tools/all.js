/** The tools, in the order of the toolbar. `kind` is what a tool draws; a label says which kinds it takes. */
import { BrushTool } from "./brush.js";
import { CobbTool } from "./cobb.js";
import { EraserTool } from "./eraser.js";
import { FreehandTool } from "./freehand.js";
import { LandmarkTool } from "./landmark.js";
import { PolygonTool } from "./polygon.js";
import { RectangleTool } from "./rectangle.js";
import { SelectTool } from "./select.js";

export const TOOLS = [
  { name: "select", key: "v", title: "Edit", hint: "Click a drawing, then drag its points or all of it.", kind: null, Tool: SelectTool },
  { name: "polygon", key: "p", title: "Polygon", hint: "Click point by point; close at the first point, by Enter or a double click.", kind: "polygon", Tool: PolygonTool },
  { name: "freehand", key: "f", title: "Freehand", hint: "Draw around the area in one stroke; letting go closes it.", kind: "freehand", Tool: FreehandTool },
  { name: "brush", key: "b", title: "Brush", hint: "Paint the area. [ and ] change the size.", kind: "mask", Tool: BrushTool },
  { name: "eraser", key: "e", title: "Eraser", hint: "Erase from the chosen label. [ and ] change the size.", kind: "mask", Tool: EraserTool },
  { name: "rectangle", key: "r", title: "Rectangle", hint: "Drag from corner to corner.", kind: "rectangle", Tool: RectangleTool },
  { name: "landmark", key: "l", title: "Landmark", hint: "Click the point.", kind: "landmark", Tool: LandmarkTool },
  { name: "cobb", key: "c", title: "Cobb", hint: "Draw one line along each endplate; the angle is shown.", kind: "cobb", Tool: CobbTool },
];

/** @param {string} name */
export const toolNamed = (name) => TOOLS.find((tool) => tool.name === name) ?? TOOLS[0];

/** What a drawing is called in lists. @param {string} kind */
export const kindTitle = (kind) => ({ mask: "Painted", cobb: "Cobb lines" })[kind] ?? toolNamed(kind).title;
