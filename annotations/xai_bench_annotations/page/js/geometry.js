/**
 * Geometries in image pixels: pixel (column c, row r) covers [c, c+1) x [r, r+1). Nothing here knows the screen.
 *
 * @typedef {[number, number]} Point
 * @typedef {{kind: "polygon" | "freehand", exterior: Point[], holes: Point[][]}} Polygon
 * @typedef {{kind: "rectangle", x: number, y: number, width: number, height: number}} Rectangle
 * @typedef {{kind: "mask", size: [number, number], counts: number[]}} Mask
 * @typedef {{kind: "landmark", at: Point}} Landmark
 * @typedef {{kind: "cobb", upper: [Point, Point], lower: [Point, Point]}} Cobb
 * @typedef {Polygon | Rectangle | Mask | Landmark | Cobb} Geometry
 * @typedef {{key: string, at: Point, middle?: boolean}} Handle
 */

export const AREAS = ["polygon", "freehand", "rectangle", "mask"];

/** @param {Point} p @param {Point} q */
export const distance = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);

/** @param {Point} p @param {Point} q @returns {Point} */
export const between = (p, q) => [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];

/** The nearest point within the image. @param {Point} p @param {{width: number, height: number}} size @returns {Point} */
export const clamped = (p, size) => [Math.min(Math.max(p[0], 0), size.width), Math.min(Math.max(p[1], 0), size.height)];

/** @param {Point} p @param {Point} a @param {Point} b */
export function distanceToSegment(p, a, b) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(1, Math.max(0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length)) : 0;
  return Math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy);
}

/** Ramer, Douglas and Peucker: no dropped point lies further than `tolerance` from what is left. */
export function simplified(/** @type {Point[]} */ points, /** @type {number} */ tolerance) {
  if (points.length < 3) return points.slice();
  const kept = new Uint8Array(points.length);
  kept[0] = kept[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  while (spans.length) {
    const [first, last] = /** @type {[number, number]} */ (spans.pop());
    let [worst, at] = [tolerance, -1];
    for (let i = first + 1; i < last; i++) {
      const off = distanceToSegment(points[i], points[first], points[last]);
      if (off > worst) [worst, at] = [off, i];
    }
    if (at < 0) continue;
    kept[at] = 1;
    spans.push([first, at], [at, last]);
  }
  return points.filter((_, i) => kept[i]);
}

/** The acute angle between two lines, in degrees. @param {[Point, Point]} upper @param {[Point, Point]} lower */
export function cobbAngle(upper, lower) {
  const [u, v] = [upper, lower].map(([p, q]) => [q[0] - p[0], q[1] - p[1]]);
  return (Math.atan2(Math.abs(u[0] * v[1] - u[1] * v[0]), Math.abs(u[0] * v[0] + u[1] * v[1])) * 180) / Math.PI;
}

/** The closed rings of an area that is not painted, the outer one first. @returns {Point[][]} */
export function rings(/** @type {Geometry} */ geometry) {
  if (geometry.kind === "rectangle") return [corners(geometry)];
  return geometry.kind === "polygon" || geometry.kind === "freehand" ? [geometry.exterior, ...geometry.holes] : [];
}

/** @param {Rectangle} r @returns {Point[]} */
const corners = (r) => [[r.x, r.y], [r.x + r.width, r.y], [r.x + r.width, r.y + r.height], [r.x, r.y + r.height]]; // prettier-ignore

/** The rectangle between two corners. @param {Point} p @param {Point} q @returns {Rectangle} */
export function rectangle(p, q) {
  const [x, y] = [Math.min(p[0], q[0]), Math.min(p[1], q[1])];
  return { kind: "rectangle", x, y, width: Math.abs(p[0] - q[0]), height: Math.abs(p[1] - q[1]) };
}

/** Every point of a geometry that is not painted. @returns {Point[]} */
export function points(/** @type {Geometry} */ geometry) {
  if (geometry.kind === "landmark") return [geometry.at];
  if (geometry.kind === "cobb") return [...geometry.upper, ...geometry.lower];
  return rings(geometry).flat();
}

/** The box around points. @returns {{x: number, y: number, width: number, height: number}} */
export function boxOf(/** @type {Point[]} */ all) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of all) {
    [x0, y0] = [Math.min(x0, x), Math.min(y0, y)];
    [x1, y1] = [Math.max(x1, x), Math.max(y1, y)];
  }
  return all.length ? { x: x0, y: y0, width: x1 - x0, height: y1 - y0 } : { x: 0, y: 0, width: 0, height: 0 };
}

/** The area within a ring, in square pixels. */
export function ringArea(/** @type {Point[]} */ ring) {
  let twice = 0;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) twice += ring[j][0] * ring[i][1] - ring[i][0] * ring[j][1];
  return Math.abs(twice) / 2;
}

/** The same geometry elsewhere, kept within the image. Painted areas stay. @returns {Geometry} */
export function moved(/** @type {Geometry} */ geometry, /** @type {number} */ dx, /** @type {number} */ dy, /** @type {{width: number, height: number}} */ size) {
  const box = boxOf(points(geometry));
  const x = Math.min(Math.max(dx, -box.x), size.width - box.x - box.width);
  const y = Math.min(Math.max(dy, -box.y), size.height - box.y - box.height);
  return mapped(geometry, ([px, py]) => [px + x, py + y]);
}

/** @param {Geometry} g @param {(p: Point) => Point} move @returns {Geometry} */
function mapped(g, move) {
  if (g.kind === "landmark") return { ...g, at: move(g.at) };
  if (g.kind === "cobb") return { ...g, upper: /** @type {any} */ (g.upper.map(move)), lower: /** @type {any} */ (g.lower.map(move)) };
  if (g.kind === "rectangle") {
    const [x, y] = move([g.x, g.y]);
    return { ...g, x, y };
  }
  if (g.kind === "mask") return g;
  return { ...g, exterior: g.exterior.map(move), holes: g.holes.map((ring) => ring.map(move)) };
}

/** What can be grabbed: vertices, and the middles of edges where a vertex can be put in. @returns {Handle[]} */
export function handles(/** @type {Geometry} */ geometry) {
  if (geometry.kind === "landmark") return [{ key: "at", at: geometry.at }];
  if (geometry.kind === "cobb") {
    return ["upper", "lower"].flatMap((line) => geometry[/** @type {"upper"} */ (line)].map((at, i) => ({ key: `${line}:${i}`, at })));
  }
  if (geometry.kind === "rectangle") {
    const four = corners(geometry);
    const sides = four.map((p, i) => ({ key: `side:${i}`, at: between(p, four[(i + 1) % 4]) }));
    return [...sides, ...four.map((at, i) => ({ key: `corner:${i}`, at }))];
  }
  const all = rings(geometry);
  const middles = all.flatMap((ring, r) => ring.map((p, i) => ({ key: `middle:${r}:${i}`, at: between(p, ring[(i + 1) % ring.length]), middle: true })));
  return [...middles, ...all.flatMap((ring, r) => ring.map((at, i) => ({ key: `ring:${r}:${i}`, at })))];
}

/** The geometry after its handle `key` was put at `p`. @returns {Geometry} */
export function dragged(/** @type {Geometry} */ geometry, /** @type {string} */ key, /** @type {Point} */ p) {
  const [what, first, second] = key.split(":");
  if (geometry.kind === "landmark") return { ...geometry, at: p };
  if (geometry.kind === "rectangle") return resized(geometry, what, Number(first), p);
  if (geometry.kind === "cobb") {
    const line = /** @type {[Point, Point]} */ (geometry[/** @type {"upper"} */ (what)].map((q, i) => (i === Number(first) ? p : q)));
    return distance(...line) > 0 ? { ...geometry, [what]: line } : geometry;
  }
  return withRing(geometry, Number(first), (ring) => ring.map((q, i) => (i === Number(second) ? p : q)));
}

/** @param {Rectangle} r @param {string} what @param {number} at @param {Point} p @returns {Rectangle} */
function resized(r, what, at, p) {
  const four = corners(r);
  const opposite = four[(at + 2) % 4];
  let next;
  if (what === "corner") next = rectangle(p, opposite);
  else if (at % 2 === 0) next = rectangle([r.x, p[1]], [r.x + r.width, opposite[1]]);
  else next = rectangle([p[0], r.y], [opposite[0], r.y + r.height]);
  return next.width > 0 && next.height > 0 ? next : r;
}

/** A vertex put into the edge of a middle handle. @returns {{geometry: Geometry, key: string}} */
export function inserted(/** @type {Geometry} */ geometry, /** @type {string} */ key, /** @type {Point} */ p) {
  const [ring, after] = key.split(":").slice(1).map(Number);
  const next = withRing(geometry, ring, (old) => [...old.slice(0, after + 1), p, ...old.slice(after + 1)]);
  return { geometry: next, key: `ring:${ring}:${after + 1}` };
}

/** The geometry without a vertex; a hole of three goes whole; null where too little would be left. @returns {Geometry | null} */
export function without(/** @type {Geometry} */ geometry, /** @type {string} */ key) {
  const [what, ring, at] = key.split(":");
  if (what !== "ring" || (geometry.kind !== "polygon" && geometry.kind !== "freehand")) return null;
  if (rings(geometry)[Number(ring)].length > 3) return withRing(geometry, Number(ring), (old) => old.filter((_, i) => i !== Number(at)));
  return Number(ring) ? { ...geometry, holes: geometry.holes.filter((_, i) => i !== Number(ring) - 1) } : null;
}

/** @param {Geometry} geometry @param {number} at @param {(ring: Point[]) => Point[]} change @returns {any} */
function withRing(geometry, at, change) {
  const g = /** @type {Polygon} */ (geometry);
  if (at === 0) return { ...g, exterior: change(g.exterior) };
  return { ...g, holes: g.holes.map((ring, i) => (i === at - 1 ? change(ring) : ring)) };
}
