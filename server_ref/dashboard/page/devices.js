// The table of devices: sorted by a click or a key on its head, filtered, at most 500 rows drawn.

import { NONE, ago, bytes, element, joules, percent, seconds, short } from "./words.js";

const MOST = 500;

const kinds = {
  name: ["Name", (d) => d.name || d.device.slice(0, 8), (d) => (d.name || d.device).toLowerCase()],
  state: ["State", (d) => d.state, (d) => d.state],
  seen: ["Last seen", (d, now) => ago(d.seen_at, now), (d) => d.seen_at],
  stage: ["Stage", (d) => d.stage ?? NONE, (d) => d.stage],
  bits: ["Bits", (d) => short(d.bits), (d) => d.bits],
  codec: ["Codec", (d) => d.codec ?? NONE, (d) => d.codec],
  link: ["Link", link, (d) => d.report?.goodput?.up_bytes_per_s],
  battery: ["Battery", battery, (d) => d.report?.battery],
  updates: ["Updates", (d) => d.updates, (d) => d.updates],
  up: ["Up", (d) => bytes(d.bytes_up), (d) => d.bytes_up],
  down: ["Down", (d) => bytes(d.bytes_down), (d) => d.bytes_down],
  joules: ["Joules", (d) => joules(d.energy_j), (d) => d.energy_j],
  time: ["Update", (d) => seconds(d.update_s), (d) => d.update_s],
  why: ["Why", (d) => d.why || NONE, (d) => d.why],
};

let devices = [];
let sorting = { by: "name", down: false };

function link(device) {
  const { link: kind, goodput, metered } = device.report ?? {};
  const rate = goodput?.up_bytes_per_s;
  const words = [kind, rate == null ? null : `${bytes(rate)}/s`, metered ? "metered" : null];
  return words.filter(Boolean).join(", ") || NONE;
}

function battery(device) {
  const { battery: share, charging } = device.report ?? {};
  if (share == null) return NONE;
  return `${percent(share).replace(".0", "")}${charging ? ", charging" : ""}`;
}

export function showDevices(found) {
  devices = found;
  paint();
}

function compare(one, other) {
  const value = kinds[sorting.by][2];
  const [a, b] = [value(one), value(other)];
  if (a == null || b == null) return (a == null) - (b == null);
  const order = a < b ? -1 : a > b ? 1 : 0;
  return sorting.down ? -order : order;
}

function paint() {
  const wanted = document.getElementById("filter").value.trim().toLowerCase();
  const now = Date.now() / 1000;
  const rows = devices
    .filter((d) => !wanted || JSON.stringify(d).toLowerCase().includes(wanted))
    .sort(compare);
  document.querySelector("#devices tbody").replaceChildren(
    ...rows.slice(0, MOST).map((device) => row(device, now)),
  );
  const hidden = rows.length - Math.min(rows.length, MOST);
  document.getElementById("more").textContent = !devices.length
    ? "No device has joined yet: edge-sdk token create makes a token for it."
    : hidden ? `${hidden} more; filter to see them.` : "";
}

function row(device, now) {
  const made = element("tr", "", device.state === "active" ? {} : { class: "gone" });
  for (const [key, [label, text]] of Object.entries(kinds)) {
    const said = String(text(device, now));
    const attributes = { "data-label": label, class: said === NONE ? `${key} none` : key };
    if (key === "name") attributes.title = device.device;
    made.append(element("td", said, attributes));
  }
  return made;
}

function head() {
  const made = element("tr");
  for (const [key, [label]] of Object.entries(kinds)) {
    const cell = element("th", "", { scope: "col" });
    if (key === sorting.by) cell.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    const button = element("button", label, { type: "button", "data-by": key });
    button.addEventListener("click", () => {
      sorting = { by: key, down: sorting.by === key && !sorting.down };
      document.querySelector("#devices thead").replaceChildren(head());
      document.querySelector(`#devices [data-by=${key}]`).focus();
      paint();
    });
    cell.append(button);
    made.append(cell);
  }
  return made;
}

document.querySelector("#devices thead").replaceChildren(head());
document.getElementById("filter").addEventListener("input", paint);
