// Numbers as people read them, units kept on the same line. null is "cannot tell", never zero.

export const NONE = "–";
const GAP = "\u00a0";

export function bytes(count) {
  if (count == null) return NONE;
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${short(count / size)}${GAP}${unit}`;
  }
  return `${Math.round(count)}${GAP}B`;
}

export function joules(count) {
  if (count == null) return NONE;
  if (count >= 1e6) return `${short(count / 1e6)}${GAP}MJ`;
  if (count >= 1e3) return `${short(count / 1e3)}${GAP}kJ`;
  return `${short(count)}${GAP}J`;
}

export function seconds(count) {
  if (count == null) return NONE;
  if (count >= 3600) return `${short(count / 3600)}${GAP}h`;
  if (count >= 60) return `${short(count / 60)}${GAP}min`;
  if (count >= 1 || count === 0) return `${short(count)}${GAP}s`;
  return `${short(count * 1000)}${GAP}ms`;
}

export function ago(at, now) {
  if (at == null) return NONE;
  const passed = Math.max(0, now - at);
  if (passed < 5) return "now";
  if (passed < 90) return `${Math.round(passed)}${GAP}s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)}${GAP}min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)}${GAP}h ago`;
  return `${Math.round(passed / 86400)}${GAP}d ago`;
}

export const percent = (share) => (share == null ? NONE : `${(100 * share).toFixed(1)}${GAP}%`);

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
