// The newest answers: a sample where they come faster than anybody reads.

import { byId, clock, count, el, mark, ms, percent, put } from "./dom.js";

const ROWS = 12;
const ROWS_A_TURN = 2;
/** How votes are shown, by the number of nodes. */
const SIZES = [[10, "named"], [60, "many"], [120, "crowd"], [Infinity, "shares"]];
const WINDOW_MS = 5000;

export class Stream {
  constructor() {
    this.list = byId("stream");
    this.waiting = [];
    this.arrivals = [];
    this.paused = false;
    this.nodes = [];
    this.classes = [];
    for (let row = 0; row < ROWS; row++) this.list.append(el("li", "row empty"));
    byId("pause").addEventListener("click", () => this.#pause());
  }

  reset(classes) {
    this.classes = classes;
    this.waiting = [];
    this.arrivals = [];
  }

  add(answer) {
    const arrival = { at: performance.now(), of: 1, shown: 0 };
    this.arrivals.push(arrival);
    this.waiting = [...this.waiting, { answer, arrival }].slice(-ROWS);
  }

  /** The gateway left answers out. */
  skip(number) {
    this.arrivals.push({ at: performance.now(), of: number, shown: 0 });
  }

  /** Show what came since the last turn; called a few times a second. */
  turn(nodes) {
    this.nodes = nodes;
    if (!this.paused) {
      // Of a backlog the newest: nobody wants to see answers of some time ago.
      if (this.waiting.length > 2 * ROWS_A_TURN) this.waiting = this.waiting.slice(-ROWS_A_TURN);
      for (const { answer, arrival } of this.waiting.splice(0, ROWS_A_TURN)) {
        arrival.shown = 1;
        this.list.prepend(this.#row(answer));
        this.list.lastElementChild.remove();
      }
    }
    put(byId("stream-note"), this.#note());
  }

  #note() {
    if (this.paused) return "paused";
    const since = performance.now() - WINDOW_MS;
    this.arrivals = this.arrivals.filter((arrival) => arrival.at > since);
    const all = this.arrivals.reduce((sum, arrival) => sum + arrival.of, 0);
    const shown = this.arrivals.reduce((sum, arrival) => sum + arrival.shown, 0);
    if (all === 0) return "none just now";
    return all <= shown + this.waiting.length ? "every one" : `a sample: 1 of ${count(Math.max(2, Math.round(all / Math.max(1, shown))))}`;
  }

  #pause() {
    this.paused = !this.paused;
    this.waiting = [];
    byId("pause").setAttribute("aria-pressed", String(this.paused));
    put(byId("pause"), this.paused ? "Go on" : "Pause");
  }

  #row(answer) {
    const row = el("li", "row");
    row.append(thumbnail(answer));
    const line = el("div", "line");
    line.append(el("b", "class", answer.name ?? "no answer"));
    if (answer.score != null) line.append(el("span", "score", percent(answer.score)));
    const time = el("time", "", clock(Date.parse(answer.time) / 1000));
    line.append(this.#verdict(answer), el("span", "latency", ms(answer.latency_ms)), time);
    row.append(line, this.#votes(answer));
    return row;
  }

  #verdict(answer) {
    const verdict = el("span", "verdict");
    if (answer.label == null) return verdict;
    const right = answer.label === answer.class;
    verdict.dataset.right = right;
    verdict.append(mark(right ? "right" : "wrong"), el("span", "", right ? "right" : `is ${this.#name(answer.label)}`));
    return verdict;
  }

  #name(index) {
    return this.classes[index] ?? `class ${index}`;
  }

  #votes(answer) {
    const votes = new Map(answer.votes.map((vote) => [vote.node, vote]));
    const spared = new Set(answer.spared);
    const kinds = { agree: 0, differ: 0, missing: 0, spared: 0 };
    const list = this.nodes.map((node) => {
      const vote = votes.get(node.id);
      const index = vote?.entries[0][0];
      const kind = vote ? (index === answer.class ? "agree" : "differ") : spared.has(node.id) ? "spared" : "missing";
      kinds[kind]++;
      return { node, vote, kind, name: vote ? this.#name(index) : null };
    });
    const holder = el("div", "chips");
    holder.setAttribute("role", "img");
    const said = [`${kinds.agree} agree`, `${kinds.differ} differ`, `${kinds.missing} without a vote`];
    if (kinds.spared) said.push(`${kinds.spared} not asked`);
    holder.setAttribute("aria-label", said.join(", "));
    const [, size] = SIZES.find(([most]) => list.length <= most);
    holder.dataset.size = size;
    if (size === "shares") holder.append(...shares(kinds, list.length));
    else holder.append(...list.map((item) => chip(item, answer, size === "named")));
    return holder;
  }
}

function chip({ node, vote, kind, name }, answer, named) {
  const square = el("span", "chip", named ? (name ?? "") : "");
  square.dataset.vote = kind;
  if (vote && vote.counted === false) square.dataset.uncounted = "";
  const why = answer.errors[node.id] ?? (kind === "spared" ? "not asked" : "no vote");
  const what = vote ? `${name}, ${percent((vote.entries[0][1] + 128) / 256)}, ${ms(vote.latency_ms)}` : why;
  square.title = `node ${node.id} (${node.variant}): ${what}`;
  return square;
}

/** One bar for a fleet with too many nodes for a chip each. */
function shares(kinds, total) {
  return Object.entries(kinds).filter(([, number]) => number > 0).map(([kind, number]) => {
    const part = el("span", "part", number / total > 0.12 ? count(number) : "");
    part.dataset.vote = kind;
    part.style.flexGrow = number;
    part.title = `${number} ${kind}`;
    return part;
  });
}

function thumbnail(answer) {
  const frame = el("span", "thumb");
  const image = new Image(48, 48);
  image.alt = "";
  image.decoding = "async";
  // It may have left the gateway's ring, or the nodes saw something that it did not.
  image.addEventListener("error", () => image.remove());
  image.src = `/v1/inputs/${answer.request}.png`;
  frame.append(image);
  return frame;
}
