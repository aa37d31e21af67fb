// Elements and numbers as text. What comes from the gateway reaches the page by textContent alone.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function el(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function svg(tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** A symbol of the page's sprite. */
export function mark(name) {
  const picture = svg("svg", { class: "mark", "aria-hidden": "true" });
  picture.append(svg("use", { href: `#mark-${name}` }));
  return picture;
}

/** Change text only where it differs, so that nothing is laid out anew for nothing. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function putAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const NONE = "–";

export function ms(value) {
  if (value == null) return NONE;
  if (value < 10) return `${+value.toFixed(1)} ms`;
  if (value < 999.5) return `${Math.round(value)} ms`;
  return `${+(value / 1000).toFixed(value < 9995 ? 2 : 0)} s`;
}

export function percent(share) {
  if (share == null) return NONE;
  const value = 100 * share;
  // 99.96 % is not all of them.
  if (value === 0) return "0 %";
  const shown = value >= 99.95 && value < 100 ? 99.9 : value;
  return `${shown >= 99.95 ? "100" : shown.toFixed(shown < 10 ? 1 : shown < 99 ? 0 : 1)} %`;
}

export function rate(value) {
  if (value == null) return NONE;
  if (value === 0) return "0";
  return value < 9.95 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

export const count = (value) => (value == null ? NONE : value.toLocaleString("en"));

export function clock(unix, seconds = true) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  return new Date(unix * 1000).toLocaleTimeString("en-GB", seconds ? { ...options, second: "2-digit" } : options);
}

export function duration(milliseconds) {
  const s = Math.floor(milliseconds / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}
