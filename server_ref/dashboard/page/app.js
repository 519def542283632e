// The page: signs in, asks for everything, draws it, and asks again when something happened.

import { SignedOut, ask, dropToken, follow, keepToken, order, token } from "./api.js";
import { draw } from "./charts.js";
import { showDevices } from "./devices.js";
import { NONE, bytes, element, joules, percent, seconds, short } from "./words.js";

const AT_MOST_EVERY_MS = 1000;
const ANYWAY_EVERY_MS = 15000;
const EVENTS_SHOWN = 100;
const WORDS = { running: "Pause", paused: "Resume" };

const by = (id) => document.getElementById(id);
let run = null;
let due = null;
let listening = null;

// ---------------------------------------------------------------- asking

async function refresh() {
  due = null;
  try {
    const [first] = await ask("v1/runs");
    const [whole, costs, devices, refusals] = await Promise.all([
      ask(`v1/runs/${first.run}`),
      ask(`v1/runs/${first.run}/costs`),
      ask("v1/devices"),
      ask("v1/refusals"),
    ]);
    run = whole;
    show(whole, costs, devices, refusals.reasons);
    say("");
  } catch (error) {
    if (error instanceof SignedOut) return signOut("The server does not know this token.");
    say(`No answer: ${error.message}`);
  }
}

function soon() {
  due ??= setTimeout(refresh, AT_MOST_EVERY_MS);
}

async function listen() {
  listening?.abort();
  listening = new AbortController();
  const { signal } = listening;
  for (let pause = 1000; !signal.aborted; pause = Math.min(2 * pause, 30000)) {
    try {
      await follow((event) => { pause = 1000; if (event) { tell(event); soon(); } }, signal);
    } catch (error) {
      if (error instanceof SignedOut || signal.aborted) return;
    }
    say("Connection lost; trying again.");
    await new Promise((done) => setTimeout(done, pause));
    soon();
  }
}

// ---------------------------------------------------------------- showing

function say(text) {
  if (by("link").textContent !== text) by("link").textContent = text;
}

function show(whole, costs, devices, refusals) {
  by("login").hidden = true;
  by("figures").hidden = by("orders").hidden = by("state").hidden = false;
  by("run").textContent = `run ${whole.run.slice(0, 8)}, plan ${whole.plan.slice(0, 8)}`;
  by("state").textContent = whole.state;
  by("state").className = whole.state === "running" ? "pill" : "pill waiting";
  by("hold").hidden = !(whole.state in WORDS);
  by("hold").textContent = WORDS[whole.state] ?? "";
  document.title = `${whole.state} ${whole.model_version}/${whole.rounds_wanted} · edge-sdk`;
  tiles(whole, costs, devices);
  charts(whole, costs);
  showDevices(devices);
  showRefusals(refusals);
}

function tiles(whole, costs, devices) {
  const rounds = whole.rounds;
  const measured = rounds.filter((one) => one.loss != null).at(-1);
  const sum = (key) => rounds.reduce((total, one) => total + one[key], 0);
  const active = devices.filter((one) => one.state === "active").length;
  const known = costs.rounds.flatMap((one) => one.phases).filter((one) => one.energy_j != null);
  const spent = known.length ? known.reduce((total, one) => total + one.energy_j, 0) : null;
  const open = rounds.at(-1);
  const stage = open?.stage ? `, stage ${open.stage}${open.warm_up ? " warming up" : ""}` : "";
  const found = [
    ["Version", String(whole.model_version), `of ${whole.rounds_wanted}${stage}`],
    measured?.accuracy != null
      ? ["Accuracy", percent(measured.accuracy), `round ${measured.round}`]
      : ["Loss", short(measured?.loss), measured ? `round ${measured.round}` : "not measured"],
    ["Devices", String(active), `${open?.committed ?? 0} of ${open?.admitted ?? 0} done in round`],
    ["Sent up", bytes(sum("bytes_up")), ""],
    ["Sent down", bytes(sum("bytes_down")), ""],
    ["Energy", joules(spent), spent == null ? "no device can tell" : "as reported"],
  ];
  by("tiles").replaceChildren(...found.map(([name, value, detail]) => {
    const tile = element("div");
    const shown = element("dd", value);
    if (detail) shown.append(" ", element("small", detail));
    tile.append(element("dt", name), shown);
    return tile;
  }));
}

function charts(whole, costs) {
  const measured = whole.rounds.filter((one) => one.loss != null);
  const classes = measured.some((one) => one.accuracy != null);
  draw("c-quality", {
    label: "Round",
    none: "Nothing was measured yet (serve --evaluate FILE.npz).",
    x: measured.map((one) => one.round),
    unit: classes ? (y) => percent(y).replace(".0", "") : short,
    range: classes ? shares : undefined,
    series: [{
      label: classes ? "Accuracy" : "Loss",
      colour: "--series-1",
      values: measured.map((one) => (classes ? one.accuracy : one.loss)),
    }],
  });
  const over = whole.rounds.filter((one) => one.state === "published" || one.state === "abandoned");
  draw("c-bytes", {
    label: "Round",
    none: "No round is over yet.",
    x: over.map((one) => one.round),
    unit: bytes,
    series: [
      { label: "Up", colour: "--series-1", values: over.map((one) => one.bytes_up) },
      { label: "Down", colour: "--series-2", values: over.map((one) => one.bytes_down) },
    ],
  });
  drawJoules(costs);
  drawTimes(costs);
}

const shares = (_, low, high) => [Math.max(0, Math.floor(low * 10 - 0.5) / 10), Math.min(1, high + 0.03)];

function drawJoules(costs) {
  const of = (round, phase) => round.phases.find((one) => one.phase === phase)?.energy_j ?? null;
  const told = costs.rounds.filter((one) => one.phases.some((p) => p.energy_j != null));
  const lines = [["Training", "train", "--series-3"], ["Upload", "upload", "--series-1"],
    ["Download", "download", "--series-2"]];
  draw("c-joules", {
    label: "Round",
    none: "No device has reported joules.",
    x: told.map((one) => one.round),
    unit: joules,
    series: lines.map(([label, phase, colour]) => (
      { label, colour, values: told.map((one) => of(one, phase)) })),
  });
}

function drawTimes(costs) {
  const counts = costs.update_s_counts;
  const lowest = counts.findIndex((count) => count > 0);
  const first = Math.max(lowest - 1, 0); // an empty class on either side shows where it ends
  const last = Math.min(counts.findLastIndex((count) => count > 0) + 1, counts.length - 1);
  const bounds = costs.update_s_bounds;
  const names = counts.map((_, at) => (at < bounds.length ? `≤ ${seconds(bounds[at])}` : "more"));
  const shown = lowest < 0 ? [] : counts.slice(first, last + 1);
  draw("c-times", {
    label: "Took",
    none: "No device has reported times.",
    x: shown.map((_, at) => at),
    names: names.slice(first, last + 1),
    unit: (y) => (Number.isInteger(y) ? String(y) : ""),
    series: [{ label: "Updates", colour: "--series-1", values: shown, bars: true }],
  });
}

function showRefusals(reasons) {
  const found = Object.entries(reasons).sort((one, other) => other[1] - one[1]);
  if (!found.length) {
    by("refusals").replaceChildren(
      element("p", "None since the server started.", { class: "none" }));
    return;
  }
  const table = element("table");
  for (const [reason, count] of found) {
    const row = element("tr");
    const bar = element("span", "", { class: "share" });
    bar.style.width = `${(100 * count) / found[0][1]}%`;
    const cell = element("td", "", { "aria-hidden": "true" });
    cell.append(bar);
    row.append(element("th", reason, { scope: "row" }), element("td", String(count)), cell);
    table.append(row);
  }
  by("refusals").replaceChildren(table);
}

function tell(event) {
  const line = element("li");
  const round = event.round == null ? "" : `round ${event.round} `;
  const what = `${event.kind.replace("-", " ")}: ${round}${event.text || NONE}`;
  const clock = new Date(event.at * 1000).toLocaleTimeString([], { hour12: false });
  line.append(element("time", clock), element("span", what));
  by("events").prepend(line);
  while (by("events").children.length > EVENTS_SHOWN) by("events").lastChild.remove();
}

// ---------------------------------------------------------------- signing in

function signOut(text) {
  dropToken();
  listening?.abort();
  by("figures").hidden = by("orders").hidden = by("state").hidden = true;
  by("run").textContent = "";
  say("");
  by("login").hidden = false;
  by("wrong").textContent = text;
  by("token").focus();
}

function signIn() {
  refresh();
  listen();
}

by("login").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(by("token").value.trim());
  by("token").value = "";
  by("wrong").textContent = "";
  signIn();
});

by("leave").addEventListener("click", () => signOut(""));

by("hold").addEventListener("click", async () => {
  const action = run.state === "running" ? "pause" : "resume";
  try {
    await order(`v1/runs/${run.run}/${action}`);
  } catch (error) {
    say(`Not done: ${error.message}`);
  }
  refresh();
});

setInterval(() => { if (token() && !document.hidden) soon(); }, ANYWAY_EVERY_MS);
if (token()) signIn();
else signOut("");
