import { Tool } from "./tool.js";

/** A press puts a point. */
export class LandmarkTool extends Tool {
  down(p) {
    this.desk.add({ kind: "landmark", at: this.desk.clamped(p) });
  }
}
