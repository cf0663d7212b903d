import { Raster, reach } from "../mask.js";
import { newId } from "../store.js";
import { StrokeTool } from "./stroke.js";

/** Paints onto the label's painted area; there is one a label. */
export class BrushTool extends StrokeTool {
  get draft() {
    return { kind: "brush", erase: false };
  }

  down(p) {
    const { desk } = this;
    const drawn = desk.store.of(desk.label).find((drawing) => drawing.geometry.kind === "mask");
    const base = drawn ? desk.rasters.get(drawn.geometry) : null;
    this.parts = [this.part(drawn?.id ?? newId(), desk.label, base?.copy() ?? new Raster(0, 0, 0, 0), base)];
    this.stroke(p, p);
  }

  paint(part, from, to) {
    part.touched = true;
    part.raster.cover(reach(from, to, this.desk.radius), this.desk.size);
    return part.raster.paint(from, to, this.desk.radius, 1);
  }

  commit([[id, geometry]]) {
    if (!geometry) return; // beside the film
    if (this.desk.store.get(id)) this.desk.change("paint", [[id, geometry]]);
    else this.desk.add(geometry, id);
  }
}
