// What there is to know of one node, and its quarantine.

import { Lines } from "./charts.js";
import { byId, count, duration, el, mark, ms, percent, put } from "./dom.js";
import { call } from "./link.js";
import { faultText } from "./tiles.js";

export class Details {
  /** `changed(node)` is told of what the gateway says after a quarantine. */
  constructor(changed) {
    this.dialog = byId("details");
    this.changed = changed;
    this.id = null;
    this.chart = new Lines(byId("details-chart"), "Votes that agree with the answer", {
      format: percent,
      range: () => [0, 1],
      empty: "No votes in this time",
    });
    byId("details-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => (this.id = null));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    byId("details-quarantine").addEventListener("click", () => this.#ask());
    byId("details-confirm").addEventListener("click", () => this.#quarantine());
    byId("details-cancel").addEventListener("click", () => this.#choice(false));
  }

  open(id, shown) {
    this.id = id;
    this.#choice(false);
    this.chart.show([null, null], 1, []);
    this.show(shown);
    this.dialog.showModal();
  }

  /** `shown`: {node, state, agreement, history}; node is null once the fleet has it no more. */
  show({ node, state, agreement, history }) {
    if (!node) return this.dialog.close();
    this.node = node;
    put(byId("details-title"), `Node ${node.id} · ${node.variant}`);
    const stateLine = byId("details-state");
    if (stateLine.dataset.state !== state) {
      stateLine.dataset.state = state;
      stateLine.replaceChildren(mark(state), el("span", "", state));
    }
    const late = state === "late" ? "It had no vote in the latest answer. " : "";
    put(byId("details-reason"), late + node.reason);
    this.#list(rows(node, agreement));
    if (history?.node?.id === node.id) this.#draw(history);
    put(byId("details-quarantine"), node.state === "quarantined" ? "Take back…" : "Quarantine…");
  }

  #list(entries) {
    const list = byId("details-list");
    if (list.children.length !== 2 * entries.length)
      list.replaceChildren(...entries.flatMap(() => [el("dt"), el("dd")]));
    entries.forEach(([name, value], place) => {
      put(list.children[2 * place], name);
      put(list.children[2 * place + 1], value);
    });
  }

  #draw({ time, point_s: pointS, node: { votes, agreed } }) {
    const values = votes.map((number, point) => (number ? agreed[point] / number : null));
    this.chart.show(time, pointS, [{ name: "", className: "first", area: true, values }]);
  }

  #ask() {
    const on = this.node.state !== "quarantined";
    this.#choice(true);
    put(byId("details-ask"), on
      ? `Node ${this.node.id} stays in quarantine until somebody takes it back: it is asked, but its votes do not count and nobody waits for them.`
      : `The votes of node ${this.node.id} count again.`);
    put(byId("details-confirm"), on ? "Quarantine" : "Take back");
    this.wanted = on;
    byId("details-cancel").focus();
  }

  #choice(open) {
    put(byId("details-ask"), "");
    byId("details-quarantine").hidden = open;
    byId("details-confirm").hidden = byId("details-cancel").hidden = !open;
    if (!open && this.dialog.open) byId("details-quarantine").focus();
  }

  async #quarantine() {
    const id = this.id;
    byId("details-confirm").disabled = true;
    try {
      const node = await call(`/v1/nodes/${id}/quarantine`, { on: this.wanted });
      this.#choice(false);
      this.changed(id, node);
    } catch (error) {
      this.#choice(false);
      put(byId("details-ask"), error.status ? `The gateway refuses: ${error.message}` : "The gateway does not answer.");
    } finally {
      byId("details-confirm").disabled = false;
    }
  }
}

function rows(node, agreement) {
  const { hello, counters, estimate, fault } = node;
  const entries = [
    ["Board", node.board],
    ["Reached by", `${node.transport} ${node.address}`],
    ["Agrees with the answer", percent(agreement)],
    ["Agrees with the other nodes", percent(estimate?.agreement)],
    ["Answers in time", percent(estimate?.reliability)],
    ["Latency", `median ${ms(estimate?.latency_p50_ms)}, 95 % under ${ms(estimate?.latency_p95_ms)}`],
    ["Votes", `${count(counters.answers)}, ${count(counters.lost)} without, ${count(counters.late)} too late`],
  ];
  if (hello) {
    entries.push(
      ["Firmware", hello.firmware],
      ["Model", hello.model_hash],
      ["Started", `boot ${node.boot}, by ${hello.reset_cause}, ${duration(hello.uptime_ms)} before its last word`],
    );
  }
  const odd = ["errors", "refused", "duplicate", "forged", "damaged", "replayed"].filter((name) => counters[name]);
  entries.push(["Trouble", odd.map((name) => `${count(counters[name])} ${name}`).join(", ") || "none"]);
  entries.push(["Last fault", faultText(fault)]);
  if (fault) entries.push(["Registers", ["pc", "lr", "psr", "cfsr", "hfsr", "address"].map((name) => `${name} ${fault[name]}`).join("  ")]);
  return entries;
}
