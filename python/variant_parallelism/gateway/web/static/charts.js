// Charts over time, drawn by hand: lines as SVG, availability as a canvas of cells.

import { clock, el, put, svg } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 132;
const TICKS = 4;

/** Common to all: title, current values, plot, time axis, the values under the pointer. */
class Chart {
  constructor(figure, title) {
    this.figure = figure;
    figure.classList.add("chart");
    const caption = el("figcaption");
    caption.append(el("h3", "", title));
    this.values = el("span", "values");
    caption.append(this.values);
    this.plot = el("div", "plot");
    this.cursor = el("i", "cursor");
    this.cursor.hidden = true;
    this.axis = el("div", "axis");
    this.axis.setAttribute("aria-hidden", "true");
    this.ticks = Array.from({ length: TICKS + 1 }, () => el("span"));
    this.axis.append(...this.ticks);
    figure.append(caption, this.plot, this.axis);
    this.plot.addEventListener("pointermove", (event) => this.#point(event));
    this.plot.addEventListener("pointerdown", (event) => this.#point(event));
    this.plot.addEventListener("pointerleave", () => this.#point(null));
    this.index = null;
  }

  /** Axis and values; the caller draws. `times` in Unix seconds or null, one a point. */
  frame(times, pointS) {
    this.times = times;
    const last = times.findLastIndex((time) => time != null);
    const base = last < 0 ? Date.now() / 1000 : times[last];
    this.timeAt = (point) => times[point] ?? base - (last - point) * pointS;
    this.ticks.forEach((tick, number) => {
      const point = Math.round((number / TICKS) * (times.length - 1));
      put(tick, number === TICKS ? "now" : clock(this.timeAt(point), false));
    });
    this.#tell();
  }

  #point(event) {
    if (!this.times) return;
    const box = this.plot.getBoundingClientRect();
    const part = event && box.width ? (event.clientX - box.left) / box.width : null;
    const inside = part != null && part >= 0 && part <= 1;
    this.row = inside ? (event.clientY - box.top) / box.height : null;
    this.index = inside ? Math.min(this.times.length - 1, Math.floor(part * this.times.length)) : null;
    this.#tell();
  }

  #tell() {
    this.cursor.hidden = this.index == null;
    if (this.index != null) this.cursor.style.left = `${(100 * (this.index + 0.5)) / this.times.length}%`;
    put(this.values, this.say(this.index));
  }
}

export class Lines extends Chart {
  /**
   * `format` makes text of a value, `range(max, min)` gives [low, high] of the axis; `scale` is
   * Math.log for a logarithmic one. `show` takes series {name, className, values, area}.
   */
  constructor(figure, title, { format, range, empty, scale = (value) => value }) {
    super(figure, title);
    Object.assign(this, { format, range, scale });
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.high = el("span", "bound high");
    this.low = el("span", "bound low");
    this.none = el("p", "none", empty);
    this.plot.append(this.drawing, this.high, this.low, this.none, this.cursor);
    this.series = [];
  }

  show(times, pointS, series) {
    this.series = series;
    const known = series.flatMap((one) => one.values).filter((value) => value != null);
    this.none.hidden = known.length > 0;
    const [low, high] = known.length ? this.range(Math.max(...known), Math.min(...known)) : [0, 1];
    put(this.high, known.length ? this.format(high) : "");
    put(this.low, known.length ? this.format(low) : "");
    const [bottom, top] = [this.scale(low), this.scale(high)];
    const y = (value) => HEIGHT - 3 - ((this.scale(value) - bottom) / (top - bottom)) * (HEIGHT - 6);
    const shapes = series.flatMap((one) => [
      ...(one.area ? [svg("path", { d: path(one.values, y, HEIGHT), class: `area ${one.className}` })] : []),
      svg("path", { d: path(one.values, y), class: `line ${one.className}` }),
    ]);
    const grid = [0.25, 0.5, 0.75].map((part) =>
      svg("path", { d: `M0 ${part * HEIGHT}H${WIDTH}`, class: "grid" }),
    );
    this.drawing.replaceChildren(...grid, ...shapes);
    this.frame(times, pointS);
    this.figure.setAttribute("aria-label", `${this.figure.querySelector("h3").textContent}: ${this.say(null)}`);
    this.figure.setAttribute("role", "group");
  }

  say(index) {
    const parts = this.series.map((one) => {
      const at = index ?? one.values.findLastIndex((value) => value != null);
      const value = at < 0 ? null : one.values[at];
      return `${one.name} ${this.format(value ?? null)}`.trim();
    });
    return (index == null ? "" : `${clock(this.timeAt(index))}  `) + parts.join(" · ");
  }
}

/** SVG path through the known values; with `base` it is closed there, as an area. */
function path(values, y, base = null) {
  const step = WIDTH / values.length;
  const runs = [];
  values.forEach((value, index) => {
    if (value == null) return;
    const point = [((index + 0.5) * step).toFixed(1), y(value).toFixed(1)];
    if (index > 0 && values[index - 1] != null) runs.at(-1).push(point);
    else runs.push([point]);
  });
  return runs
    .map((run) => {
      if (run.length === 1) {
        const [[x, height]] = run;
        run = [[(x - step / 2).toFixed(1), height], [(+x + step / 2).toFixed(1), height]];
      }
      const line = `M${run.map((point) => point.join(" ")).join("L")}`;
      return base == null ? line : `${line}L${run.at(-1)[0]} ${base}L${run[0][0]} ${base}Z`;
    })
    .join("");
}

/** One row a node, one cell a point: how much of the time it was up. */
export class Cells extends Chart {
  constructor(figure, title) {
    super(figure, title);
    this.canvas = el("canvas");
    this.canvas.setAttribute("role", "img");
    this.plot.append(this.canvas, this.cursor);
    this.nodes = [];
    const redraw = () => this.#draw();
    new ResizeObserver(redraw).observe(this.plot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  /** `nodes`: {id, variant, up: percent or null, one a point}. */
  show(times, pointS, nodes) {
    this.nodes = nodes;
    this.frame(times, pointS);
    this.#draw();
    this.canvas.setAttribute("aria-label", `Availability: ${this.say(null)}`);
  }

  say(index) {
    if (index != null && this.row != null && this.nodes.length) {
      const node = this.nodes[Math.min(this.nodes.length - 1, Math.floor(this.row * this.nodes.length))];
      const up = node.up[index];
      return `${clock(this.timeAt(index))}  node ${node.id} ${node.variant}: ${up == null ? "–" : `${up} % up`}`;
    }
    const known = this.nodes.map((node) => node.up.filter((up) => up != null)).filter((ups) => ups.length);
    if (!known.length) return "–";
    const means = known.map((ups) => ups.reduce((sum, up) => sum + up, 0) / ups.length);
    const always = means.filter((mean) => mean === 100).length;
    return `${always} of ${known.length} always up`;
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    const points = this.times?.length ?? 0;
    if (!width || !points) return;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const paint = this.canvas.getContext("2d");
    const style = getComputedStyle(this.figure);
    const [good, bad] = ["--up", "--dead"].map((name) => style.getPropertyValue(name));
    const rowHeight = this.canvas.height / this.nodes.length;
    const gap = rowHeight > 6 * scale ? 2 * scale : rowHeight > 3 * scale ? scale : 0;
    const edge = (point) => Math.round((point / points) * this.canvas.width);
    this.nodes.forEach((node, row) => {
      const top = Math.round(row * rowHeight);
      const tall = Math.max(1, Math.round((row + 1) * rowHeight) - top - gap);
      for (let from = 0; from < points; ) {
        const up = node.up[from];
        let to = from + 1;
        while (to < points && node.up[to] === up) to++;
        if (up != null) {
          paint.globalAlpha = 0.8;
          paint.fillStyle = good;
          paint.fillRect(edge(from), top, edge(to) - edge(from), tall);
          // What was missed grows from the row's lower edge, so that a short gap is seen, too.
          const missed = up === 100 ? 0 : Math.max(scale, Math.round((tall * (100 - up)) / 100));
          paint.globalAlpha = 1;
          paint.fillStyle = bad;
          paint.fillRect(edge(from), top + tall - missed, edge(to) - edge(from), missed);
        }
        from = to;
      }
    });
  }
}
