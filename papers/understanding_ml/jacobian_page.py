"""A page on which a point is dragged and its gradient, local linear map and curvature follow: one file, no network.

Left the plane with the level sets, right its image under the map. Every number comes from the formulas that sympy
derived, written as JavaScript by ``expressions.javascript``: no text of the user's is ever run or read as HTML.
"""

import html
import json
from collections.abc import Mapping

from papers.understanding_ml.expressions import WINDOW, Function, javascript


def page(functions: Mapping[str, Function]) -> bytes:
    """The page for one or more functions by name; the first is shown first."""
    shown = [
        {"name": name, "text": f.text, "scalar": len(f.components) == 1, "point": f.point.tolist()}
        for name, f in functions.items()
    ]
    parts = {
        "@TITLE@": html.escape(", ".join(functions)),
        "@WINDOW@": repr(WINDOW),
        "@SHOWN@": json.dumps(shown).replace("<", "\\u003c"),
        "@CODE@": ",\n".join(javascript(f.everything) for f in functions.values()),
    }
    text = TEMPLATE
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text.encode()


TEMPLATE = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Gradient and Jacobian: @TITLE@</title>
<style>
body { font: 16px/1.45 system-ui, sans-serif; color: #222; max-width: 1000px; margin: 0 auto; padding: 12px; }
h1 { font-size: 1.3em; margin: 0 0 4px; }
h2 { font-size: 1em; margin: 0 0 4px; }
p { margin: 4px 0 10px; }
.planes { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-end; }
.planes section { flex: 1 1 320px; max-width: 480px; }
canvas { width: 100%; aspect-ratio: 1; border: 1px solid #999; display: block; }
#domain { touch-action: none; cursor: grab; }
#domain:focus-visible { outline: 3px solid #1f77b4; }
table { border-collapse: collapse; margin-top: 12px; width: 100%; }
th, td { text-align: left; padding: 2px 12px 2px 0; border-top: 1px solid #ddd; vertical-align: top; }
th { font-weight: normal; }
td { font-family: ui-monospace, monospace; }
.long { color: #d62728; } .short { color: #2ca02c; } .gradient { color: #e07000; } .round { color: #1f77b4; }
</style>
</head>
<body>
<h1>Gradient and Jacobian of <code id="text"></code></h1>
<p>Drag the point, or move it with the arrow keys (finer with Shift).
<label id="chooser">Function: <select id="function"></select></label>
<label>Radius of the circle: <input id="radius" type="range" min="0.05" max="1" step="0.05" value="0.3"></label></p>
<div class="planes">
<section><h2>The plane: level sets of <i class="surface"></i>, its <span class="gradient">gradient</span></h2>
<canvas id="domain" tabindex="0" role="application" aria-label="The plane; arrow keys move the point"></canvas>
</section>
<section><h2>Its image under <i class="map"></i>: <span class="round">of the circle</span>,
and the ellipse (dashed) that <i>J</i> makes of it</h2>
<canvas id="image" role="img" aria-label="The image of circle and grid, and the ellipse"></canvas>
</section>
</div>
<table>
<tr><th>point (x, y)</th><td><output id="point"></output></td></tr>
<tr><th>value of <i class="surface"></i></th><td><output id="value"></output></td></tr>
<tr><th><span class="gradient">gradient</span>, at right angles to the level set</th>
<td><output id="gradient"></output></td></tr>
<tr><th>image of the point under <i class="map"></i></th><td><output id="mapped"></output></td></tr>
<tr><th>Jacobian <i>J</i> of <i class="map"></i>, by rows</th><td><output id="jacobian"></output></td></tr>
<tr><th>det <i>J</i>: what areas are multiplied by; below 0 it turns them over</th>
<td><output id="determinant"></output></td></tr>
<tr><th>singular values of <i>J</i>: <span class="long">longest</span> and <span class="short">shortest</span> half axis
for a circle of radius 1</th><td><output id="singular"></output></td></tr>
<tr><th>eigenvalues of the Hessian of <i class="surface"></i>: its curvatures</th>
<td><output id="hessian"></output></td></tr>
</table>
<script>
"use strict";
const WINDOW = @WINDOW@;
const SHOWN = @SHOWN@;
// (x, y) => [surface, map (2), gradient (2), Jacobian (4), Hessian (4)]
const FUNCTIONS = [
@CODE@
];
const SIZE = 480, GRID = 96, LEVELS = 15, ROUND = 180;
const byId = (id) => document.getElementById(id);
const domain = byId("domain"), image = byId("image");
let chosen = 0, point = [0, 0], levels = [];

const number = (v) => Number.isFinite(v) ? String(Number(v.toPrecision(6))) : "not finite";
const numbers = (...vs) => vs.map(number).join(", ");

// A = [[a, b], [c, d]] = U S V^T: half the angle sums and differences of its rotations.
function singular([a, b, c, d]) {
  const sum = Math.hypot(a + d, c - b), difference = Math.hypot(a - d, b + c);
  const plus = Math.atan2(c - b, a + d), minus = Math.atan2(b + c, a - d);
  const u = (plus + minus) / 2, v = (minus - plus) / 2, flip = sum >= difference ? 1 : -1;
  return { values: [(sum + difference) / 2, Math.abs(sum - difference) / 2],
    left: [[Math.cos(u), Math.sin(u)], [-flip * Math.sin(u), flip * Math.cos(u)]],
    right: [[Math.cos(v), Math.sin(v)], [-Math.sin(v), Math.cos(v)]] };
}

function eigenvalues([a, b, , d]) {
  const middle = (a + d) / 2, half = Math.hypot((a - d) / 2, b);
  return [middle + half, middle - half];
}

// A canvas as the square center +- half of the plane.
function plane(canvas, center, half) {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== SIZE * scale) canvas.width = canvas.height = SIZE * scale;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, SIZE, SIZE);
  const at = ([x, y]) => [(x - center[0] + half) / (2 * half) * SIZE, (center[1] + half - y) / (2 * half) * SIZE];
  const line = (points, color, width = 1.5, dash = []) => {
    context.beginPath();
    let down = false;
    for (const p of points) {
      const [u, v] = at(p);
      const inside = Math.abs(u) < 1e5 && Math.abs(v) < 1e5;
      if (inside) down ? context.lineTo(u, v) : context.moveTo(u, v);
      down = inside;
    }
    Object.assign(context, { strokeStyle: color, lineWidth: width });
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  };
  const arrow = (from, to, color) => {
    line([from, to], color, 2.5);
    const [u, v] = at(from), [s, t] = at(to), angle = Math.atan2(t - v, s - u);
    if (!(Math.hypot(s - u, t - v) > 4 && Math.abs(s) < 1e5 && Math.abs(t) < 1e5)) return;
    context.beginPath();
    context.moveTo(s, t);
    for (const turn of [2.7, -2.7]) context.lineTo(s + 9 * Math.cos(angle + turn), t + 9 * Math.sin(angle + turn));
    context.fillStyle = color;
    context.fill();
  };
  const dot = (p, color, radius) => {
    context.beginPath();
    context.arc(...at(p), radius, 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: color, strokeStyle: "white", lineWidth: 2 });
    context.fill();
    context.stroke();
  };
  const axes = () => {
    const step = half / 2;
    Object.assign(context, { fillStyle: "#555", font: "13px sans-serif" });
    for (const axis of [0, 1]) {
      for (let k = Math.ceil((center[axis] - half) / step); k * step <= center[axis] + half; k++) {
        const low = [center[0] - half, center[1] - half], high = [center[0] + half, center[1] + half];
        low[axis] = high[axis] = k * step;
        line([low, high], k === 0 ? "#bbb" : "#e8e8e8", 1);
        const [u, v] = at(low), label = number(k * step);
        const wide = context.measureText(label).width;
        if (axis === 0 && u > 30 && u < SIZE - 30) context.fillText(label, u - wide / 2, SIZE - 5);
        if (axis === 1 && v > 20 && v < SIZE - 30) context.fillText(label, 4, v + 4);
      }
    }
  };
  return { context, at, line, arrow, dot, axes };
}

// Segments of the level sets in the window: where a level lies between the ends of a cell's side.
function levelSets(f) {
  const side = Array.from({ length: GRID + 1 }, (_, i) => -WINDOW + 2 * WINDOW * i / GRID);
  const values = side.map((y) => side.map((x) => f(x, y)[0]));
  const sorted = values.flat().filter(Number.isFinite).sort((a, b) => a - b);
  const low = sorted[Math.floor(0.02 * sorted.length)], high = sorted[Math.floor(0.98 * sorted.length)];
  const found = [];
  if (!(high > low)) return found;
  for (let k = 0; k < LEVELS; k++) {
    const level = low + (high - low) * (k + 0.5) / LEVELS, segments = [];
    for (let i = 0; i < GRID; i++) for (let j = 0; j < GRID; j++) {
      const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]], ends = [];
      for (let c = 0; c < 4; c++) {
        const [a, b] = corners[c], [s, t] = corners[(c + 1) % 4];
        const one = values[a][b], other = values[s][t];
        if (Number.isFinite(one) && Number.isFinite(other) && (one > level) !== (other > level)) {
          const share = (level - one) / (other - one);
          ends.push([side[b] + share * (side[t] - side[b]), side[a] + share * (side[s] - side[a])]);
        }
      }
      for (let e = 0; e + 1 < ends.length; e += 2) segments.push([ends[e], ends[e + 1]]);
    }
    found.push({ segments, color: `hsl(${250 - 200 * k / (LEVELS - 1)} 60% 60%)` });
  }
  return found;
}

function draw() {
  const f = FUNCTIONS[chosen], r = Number(byId("radius").value), [x, y] = point;
  const [value, m1, m2, g1, g2, a, b, c, d, ...hessian] = f(x, y);
  const J = [a, b, c, d], { values, left, right } = singular(J);
  byId("point").value = numbers(x, y);
  byId("value").value = number(value);
  byId("gradient").value = numbers(g1, g2);
  byId("mapped").value = numbers(m1, m2);
  byId("jacobian").value = `[${numbers(a, b)}], [${numbers(c, d)}]`;
  byId("determinant").value = number(a * d - b * c);
  byId("singular").value = numbers(...values);
  byId("hessian").value = numbers(...eigenvalues(hessian));

  const move = ([u, v]) => [x + r * u, y + r * v];
  const linear = ([u, v]) => [m1 + r * (a * u + b * v), m2 + r * (c * u + d * v)];
  const curved = (v) => f(...move(v)).slice(1, 3);
  const angles = Array.from({ length: ROUND + 1 }, (_, i) => 2 * Math.PI * i / ROUND);
  const round = angles.map((angle) => [Math.cos(angle), Math.sin(angle)]);
  const steps = Array.from({ length: 21 }, (_, i) => i / 10 - 1), net = [];
  for (const k of [-1, -0.5, 0, 0.5, 1]) net.push(steps.map((s) => [k, s]), steps.map((s) => [s, k]));

  const here = plane(domain, [0, 0], WINDOW);
  here.axes();
  for (const { segments, color } of levels) for (const segment of segments) here.line(segment, color, 1);
  for (const thread of net) here.line(thread.map(move), "#888", 0.8);
  here.line(round.map(move), "#1f77b4", 2.5);
  const steep = Math.hypot(g1, g2);
  if (steep > 0) here.arrow(point, [x + 0.7 * g1 / steep, y + 0.7 * g2 / steep], "#e07000");
  here.arrow(point, move(right[0]), "#d62728");
  here.arrow(point, move(right[1]), "#2ca02c");
  here.dot(point, "black", 8);

  const bent = round.map(curved), flat = round.map(linear);
  const reaches = [...bent, ...flat].map(([u, v]) => Math.max(Math.abs(u - m1), Math.abs(v - m2)));
  const reach = Math.max(...reaches.filter(Number.isFinite), 1e-9);
  const there = plane(image, [m1, m2], 2 ** Math.ceil(Math.log2(1.3 * reach)));
  if (!Number.isFinite(m1 + m2)) return;
  there.axes();
  for (const thread of net) there.line(thread.map(curved), "#888", 0.8);
  there.line(bent, "#1f77b4", 2.5);
  there.line(flat, "black", 2, [6, 4]);
  there.arrow([m1, m2], linear(right[0]), "#d62728");
  there.arrow([m1, m2], linear(right[1]), "#2ca02c");
  there.dot([m1, m2], "black", 6);
}

function choose(index) {
  chosen = index;
  const { text, scalar, point: start } = SHOWN[index];
  byId("text").textContent = text;
  const label = (of, name) => document.querySelectorAll(of).forEach((element) => { element.textContent = name; });
  label(".surface", scalar ? "f" : "f\u2081");
  label(".map", scalar ? "(x, y) \u2192 \u2207f" : "f");
  point = [...start];
  levels = levelSets(FUNCTIONS[index]);
  draw();
}

const clamp = (v) => Math.min(WINDOW, Math.max(-WINDOW, v));
function place(x, y) {
  point = [clamp(x), clamp(y)];
  draw();
}
let dragging = null;
const follow = (event) => {
  if (event.pointerId !== dragging) return;
  const box = domain.getBoundingClientRect(), share = (at, low, size) => 2 * WINDOW * (at - low) / size - WINDOW;
  place(share(event.clientX, box.left + domain.clientLeft, domain.clientWidth),
    -share(event.clientY, box.top + domain.clientTop, domain.clientHeight));
};
domain.addEventListener("pointerdown", (event) => {
  dragging = event.pointerId;
  follow(event);
});
window.addEventListener("pointermove", follow);
for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, (event) => {
  if (event.pointerId === dragging) dragging = null;
});
domain.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.01 : 0.1;
  const [u, v] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
  if (!u && !v) return;
  event.preventDefault();
  place(point[0] + step * u, point[1] + step * v);
});
byId("radius").addEventListener("input", draw);
byId("chooser").hidden = SHOWN.length === 1;
for (const { name } of SHOWN) byId("function").add(new Option(name));
byId("function").addEventListener("change", (event) => choose(event.target.selectedIndex));
choose(0);
</script>
</body>
</html>
"""
