// Numbers as people read them. null is "cannot tell", never zero.

export const NONE = "–";

export function bytes(count) {
  if (count == null) return NONE;
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${short(count / size)} ${unit}`;
  }
  return `${Math.round(count)} B`;
}

export function joules(count) {
  if (count == null) return NONE;
  if (count >= 1e6) return `${short(count / 1e6)} MJ`;
  if (count >= 1e3) return `${short(count / 1e3)} kJ`;
  return `${short(count)} J`;
}

export function seconds(count) {
  if (count == null) return NONE;
  if (count >= 3600) return `${short(count / 3600)} h`;
  if (count >= 60) return `${short(count / 60)} min`;
  if (count >= 1 || count === 0) return `${short(count)} s`;
  return `${short(count * 1000)} ms`;
}

export function ago(at, now) {
  if (at == null) return NONE;
  const passed = Math.max(0, now - at);
  if (passed < 5) return "now";
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} d ago`;
}

export const percent = (share) => (share == null ? NONE : `${(100 * share).toFixed(1)} %`);

export function short(value) {
  if (value == null) return NONE;
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
