// Charts by uPlot, each with its numbers as a table for whoever cannot see or use the drawing.

import { element, short } from "./words.js";

const HEIGHT = 200;
const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000];
const drawn = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// `spec`: label and names of the x values, and series of {label, values, colour, bars}.
export function draw(id, spec) {
  const place = document.getElementById(id);
  const known = drawn.get(id);
  drawn.set(id, { ...known, spec });
  if (!spec.x.length) return empty(id, place, spec.none);
  const data = [spec.x, ...spec.series.map((one) => one.values)];
  const form = JSON.stringify([spec.series.map((one) => [one.label, one.colour]), spec.names ?? 0]);
  if (known?.plot && known.form === form) known.plot.setData(data);
  else rebuild(id, place, spec, data, form);
  fillTable(place, spec);
}

function empty(id, place, text) {
  drawn.get(id).plot?.destroy();
  drawn.set(id, {});
  place.replaceChildren(element("p", text, { class: "none" }));
}

function rebuild(id, place, spec, data, form) {
  drawn.get(id).plot?.destroy();
  const open = place.querySelector("details")?.open ?? false;
  place.replaceChildren();
  const plot = new uPlot(options(place, spec), data, place);
  const details = element("details");
  details.open = open;
  const numbers = element("div", "", { class: "numbers", tabindex: "0" });
  numbers.append(element("table"));
  details.append(element("summary", "Numbers"), numbers);
  place.append(details);
  drawn.set(id, { plot, form, spec });
}

function options(place, spec) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const shown = spec.names
    ? (_, at) => at.map((x) => spec.names[x] ?? "")
    : (_, at) => at.map((x) => (Number.isInteger(x) ? x : ""));
  return {
    width: place.clientWidth || 400,
    height: HEIGHT,
    scales: { x: { time: false, range: padded(spec) }, y: { range: spec.range ?? fromZero } },
    axes: [
      { ...axis, incrs: WHOLE_STEPS, space: spec.names ? 55 : 40, values: shown },
      { ...axis, size: 62, values: (_, at) => at.map(spec.unit) },
    ],
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    legend: { markers: { width: 3 } },
    series: [
      { label: spec.label, value: (_, x) => (x == null ? "" : spec.names?.[x] ?? x) },
      ...spec.series.map((one) => line(one, spec)),
    ],
  };
}

function line(one, spec) {
  const stroke = colour(one.colour);
  const common = { label: one.label, stroke, value: (_, y) => (y == null ? "" : spec.unit(y)) };
  if (one.bars) {
    return { ...common, fill: stroke, width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [0.85, 60] }) };
  }
  return { ...common, width: 2, spanGaps: true, points: { size: 5, fill: stroke } };
}

const fromZero = (_, low, high) => [0, high > 0 ? high * 1.08 : 1];
const padded = (spec) => (_, low, high) =>
  spec.names ? [low - 0.6, high + 0.6] : high > low ? [low, high] : [low - 1, high + 1];

function fillTable(place, spec) {
  const table = place.querySelector("table:not(.u-legend)");
  const head = element("tr");
  for (const text of [spec.label, ...spec.series.map((one) => one.label)]) {
    head.append(element("th", text, { scope: "col" }));
  }
  const rows = spec.x.map((x, at) => {
    const row = element("tr");
    row.append(element("th", String(spec.names?.[x] ?? x), { scope: "row" }));
    for (const one of spec.series) {
      const value = one.values[at];
      row.append(element("td", value == null ? short(null) : spec.unit(value)));
    }
    return row;
  });
  table.replaceChildren(head, ...rows);
}

function redraw() {
  for (const [id, { plot, spec }] of drawn) {
    if (!plot) continue;
    drawn.set(id, { plot, spec });
    draw(id, spec);
  }
}

new ResizeObserver(() => {
  for (const [id, { plot }] of drawn) {
    const width = document.getElementById(id).clientWidth;
    if (plot && width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }
}).observe(document.documentElement);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
