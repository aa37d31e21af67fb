// The page: what the gateway says comes in here, and what is shown goes out from here.

import { Cells, Lines } from "./charts.js";
import { Details } from "./details.js";
import { byId, clock, count, ms, percent, put, rate } from "./dom.js";
import { Link, Refused, call } from "./link.js";
import { Stream } from "./stream.js";
import { STATES, Tiles, shownState } from "./tiles.js";

const TURN_MS = 250;
const POLL_MS = 2000;
const HISTORY_MS = 5000;
const NEWS_MS = 8000;
const RATE_POLLS = 3;
const MANY = 100;

const state = {
  live: false,
  fleet: null,
  nodes: [],
  counters: null,
  counts: [],
  rate: null,
  late: new Set(),
  history: null,
  news: "",
};

const link = new Link({ live, away, event });
const stream = new Stream();
const tiles = new Tiles((id) => {
  details.open(id, about(id));
  pollHistory();
});
const details = new Details((id, node) => {
  if (node?.id === id) state.nodes = state.nodes.map((old) => (old.id === id ? node : old));
  poll();
});
const noAnswers = "No answers in this time";
const charts = {
  availability: new Cells(byId("chart-availability"), "Availability of each node"),
  accuracy: new Lines(byId("chart-accuracy"), "Right answers", {
    format: percent,
    range: (max, min) => [[0.9, 0.5].find((bound) => min >= bound) ?? 0, 1],
    empty: "No answer with a known label in this time",
  }),
  rate: new Lines(byId("chart-rate"), "Answers a second", {
    format: rate,
    range: (max) => [0, rounded(max)],
    empty: noAnswers,
  }),
  latency: new Lines(byId("chart-latency"), "Latency", {
    format: ms,
    range: (max, min) => [decade(min), 10 * decade(max)],
    scale: Math.log,
    empty: noAnswers,
  }),
};

const decade = (value) => 10 ** Math.floor(Math.log10(Math.max(value, 0.1)));

/** The next of 1, 2, 5, 10, 20, ... so that the axis seldom changes. */
function rounded(value) {
  return [1, 2, 5, 10].map((step) => step * decade(value)).find((bound) => bound >= value);
}

// The connection.

function live(fleet) {
  const before = state.fleet;
  const again = before && !state.live;
  const restarted = before && before.started !== fleet.started;
  state.live = true;
  state.fleet = fleet;
  put(byId("fleet-name"), fleet.fleet);
  document.title = `${fleet.fleet} · Variant Parallelism`;
  if (restarted) {
    state.late = new Set();
    state.counts = [];
  }
  stream.reset(fleet.classes);
  setLink("live", "live");
  if (again) tell(restarted ? "The gateway restarted; connected again" : "Connected again");
  schedule();
}

function away(why = "no gateway: trying again") {
  if (state.live) tell("The gateway is away");
  state.live = false;
  setLink("away", state.fleet && state.seen ? `${why} (last heard ${clock(state.seen)})` : why);
}

function setLink(name, text) {
  byId("link").dataset.link = name;
  document.body.dataset.link = name;
  put(byId("link-text"), text);
}

/** A line for everybody, in the header for a while and to screen readers. */
function tell(text) {
  state.news = text;
  put(byId("said"), text);
  clearTimeout(state.newsTimer);
  state.newsTimer = setTimeout(() => {
    state.news = "";
    if (state.live) put(byId("link-text"), "live");
  }, NEWS_MS);
  if (state.live) put(byId("link-text"), text);
}

// What comes in.

function event(kind, data) {
  state.seen = Date.now() / 1000;
  if (kind === "answer") {
    stream.add(data);
    const spared = new Set(data.spared);
    state.late = new Set(data.missing.filter((id) => !spared.has(id)));
  } else if (kind === "skipped") {
    stream.skip(data.count);
  } else if (kind === "node") {
    const node = state.nodes.find((one) => one.id === data.node);
    if (!node) return;
    node.state = data.state;
    node.reason = data.reason;
    put(byId("said"), `Node ${data.node} ${data.variant} is ${data.state}`);
  }
}

async function poll() {
  try {
    const [{ nodes }, counters] = await Promise.all([call("/v1/nodes"), call("/v1/counters")]);
    Object.assign(state, { nodes, counters, seen: Date.now() / 1000 });
    countAnswers(counters.answers);
  } catch (error) {
    failed(error);
  }
}

/** Answers a second, over the last few polls. */
function countAnswers(answers) {
  const at = performance.now();
  state.counts = [...state.counts.slice(-RATE_POLLS).filter((one) => one.answers <= answers), { at, answers }];
  const [first] = state.counts;
  state.rate = state.counts.length > 1 ? (answers - first.answers) / ((at - first.at) / 1000) : null;
}

async function pollHistory() {
  const span = document.querySelector("input[name=span]:checked").value;
  const node = details.id == null ? "" : `&node=${details.id}`;
  try {
    state.history = await call(`/v1/history?span=${span}${node}`);
    showHistory();
  } catch (error) {
    failed(error);
  }
}

function failed(error) {
  // A refusal of one call (a node that the fleet has no more) is no broken connection.
  if (error instanceof Refused && error.status !== 401) return;
  if (state.live) link.lost();
}

/** Ask again and again, one call at a time; a large fleet's gateway less often. */
function schedule() {
  state.round = {};
  repeat(state.round, poll, POLL_MS);
  repeat(state.round, pollHistory, HISTORY_MS);
}

async function repeat(round, work, everyMs) {
  while (round === state.round && state.live) {
    if (!document.hidden) await work();
    await new Promise((resolve) => setTimeout(resolve, everyMs * (state.nodes.length > MANY ? 3 : 1)));
  }
}

// What goes out.

function agreements() {
  const seen = state.history?.nodes ?? [];
  return new Map(seen.map((node) => [node.id, node.votes ? node.agreed / node.votes : null]));
}

function about(id) {
  const node = state.nodes.find((one) => one.id === id);
  return {
    node,
    state: node && shownState(node, state.late),
    agreement: agreements().get(id) ?? null,
    history: state.history,
  };
}

function turn() {
  if (document.hidden) return;
  stream.turn(state.nodes);
  if (!state.nodes.length) return;
  tiles.show(state.nodes, state.late, agreements());
  if (details.id != null) details.show(about(details.id));
  const { nodes, counters } = state;
  put(byId("figure-up"), String(nodes.filter((node) => node.state === "up").length));
  put(byId("figure-nodes"), `of ${nodes.length}`);
  put(byId("figure-rate"), rate(state.rate));
  put(byId("figure-lost"), count(counters?.lost));
  put(byId("figure-requests"), counters ? `of ${count(counters.requests)}` : "");
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const last = (values) => values.findLast((value) => value != null) ?? null;

function showHistory() {
  const { time, point_s: pointS, seconds, answered, lost, labelled, correct, ...past } = state.history;
  const perSecond = (counts) => counts.map((number, point) => (seconds[point] > 1 ? number / seconds[point] : null));
  const right = labelled.map((number, point) => (number ? correct[point] / number : null));
  const variants = new Map(state.nodes.map((node) => [node.id, node.variant]));
  charts.availability.show(time, pointS, past.nodes.map((node) => ({ ...node, variant: variants.get(node.id) ?? "" })));
  charts.accuracy.show(time, pointS, [{ name: "", className: "first", area: true, values: right }]);
  charts.rate.show(time, pointS, [
    { name: "answered", className: "first", area: true, values: perSecond(answered) },
    { name: "lost", className: "bad", values: perSecond(lost) },
  ]);
  charts.latency.show(time, pointS, [
    { name: "median", className: "first", values: past.latency_p50_ms },
    { name: "95 % under", className: "second", values: past.latency_p95_ms },
  ]);
  put(byId("figure-latency"), ms(last(past.latency_p50_ms)));
  const known = sum(labelled);
  put(byId("figure-right"), known ? percent(sum(correct) / known) : "–");
  put(byId("figure-labelled"), known ? `of ${count(known)}` : "no labels");
  byId("figure-labelled").classList.toggle("labelled", known > 0);
}

for (const choice of document.querySelectorAll("input[name=span]"))
  choice.addEventListener("change", pollHistory);
setInterval(turn, TURN_MS);
link.connect();
