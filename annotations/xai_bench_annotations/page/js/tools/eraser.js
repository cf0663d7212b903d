import { rings } from "../geometry.js";
import { Raster, common, reach } from "../mask.js";
import { StrokeTool } from "./stroke.js";

/** Erases from whatever of the label lies under it; an area with a bite taken out becomes a painted one. */
export class EraserTool extends StrokeTool {
  get draft() {
    return { kind: "brush", erase: true };
  }

  down(p) {
    const { desk } = this;
    this.parts = desk.store.of(desk.label).flatMap(({ id, label, geometry }) => {
      if (geometry.kind !== "mask") return rings(geometry).length ? [this.part(id, label, Raster.filled(rings(geometry), desk.size), null)] : [];
      const base = desk.rasters.get(geometry);
      return [this.part(id, label, base.copy(), base)];
    });
    if (!this.parts.length) return desk.say("There is nothing of this label to erase.");
    this.stroke(p, p);
  }

  paint(part, from, to) {
    const { radius } = this.desk;
    const near = common(reach(from, to, Math.max(radius, 1)), part.raster);
    const before = painted(part.raster, near);
    const box = part.raster.paint(from, to, radius, 0);
    part.touched ||= painted(part.raster, near) < before;
    return box;
  }

  commit(changes) {
    if (changes.length) this.desk.change("erase", changes);
  }
}

/** How many pixels of a box are painted. */
function painted(raster, box) {
  let sum = 0;
  for (let row = box.y; row < box.y + box.height; row++) {
    const at = (row - raster.y) * raster.width - raster.x;
    for (let column = box.x; column < box.x + box.width; column++) sum += raster.data[at + column];
  }
  return sum;
}
