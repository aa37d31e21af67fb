// The fleet as tiles, one a node, in the fleet's order.

import { byId, el, mark, ms, percent, put, putAttribute } from "./dom.js";

const COMPACT_ABOVE = 24;
const TINY_ABOVE = 150;

export const STATES = ["up", "late", "quarantined", "unknown", "refused", "dead"];

/** The state to show: `late` is a node that is up and has no vote in the latest answer seen. */
export function shownState(node, late) {
  return node.state === "up" && late.has(node.id) ? "late" : node.state;
}

export function faultText(fault) {
  if (!fault) return "no fault";
  return `${fault.bits.length ? fault.bits.join(", ") : "fault"} at ${fault.pc}`;
}

export class Tiles {
  constructor(onOpen) {
    this.list = byId("tiles");
    this.onOpen = onOpen;
    this.tiles = new Map();
  }

  /** `agreement` by node id, a share or null; `late` is a set of node ids. */
  show(nodes, late, agreement) {
    const size = nodes.length > TINY_ABOVE ? "tiny" : nodes.length > COMPACT_ABOVE ? "compact" : "roomy";
    putAttribute(this.list, "data-size", size);
    this.#match(nodes);
    const counts = new Map();
    for (const node of nodes) {
      const state = shownState(node, late);
      counts.set(state, (counts.get(state) ?? 0) + 1);
      fill(this.tiles.get(node.id), node, state, agreement.get(node.id) ?? null);
    }
    const present = STATES.filter((state) => counts.has(state));
    put(byId("fleet-states"), present.map((state) => `${counts.get(state)} ${state}`).join(" · "));
  }

  #match(nodes) {
    const wanted = new Set(nodes.map((node) => node.id));
    for (const [id, tile] of this.tiles) {
      if (!wanted.has(id)) {
        tile.item.remove();
        this.tiles.delete(id);
      }
    }
    nodes.forEach((node, place) => {
      if (!this.tiles.has(node.id)) this.tiles.set(node.id, this.#make(node.id));
      const { item } = this.tiles.get(node.id);
      if (this.list.children[place] !== item) this.list.insertBefore(item, this.list.children[place] ?? null);
    });
  }

  #make(id) {
    const item = el("li");
    const button = el("button", "tile");
    button.type = "button";
    button.dataset.node = id;
    button.addEventListener("click", () => this.onOpen(id));
    const tile = { item, button };
    const part = (name, parent, className = name) => parent.append((tile[name] = el("span", className)));
    const head = el("span", "head");
    part("id", head);
    part("variant", head);
    tile.state = el("span", "state");
    tile.mark = mark("unknown");
    tile.stateText = el("span", "word");
    tile.state.append(tile.mark, tile.stateText);
    head.append(tile.state);
    const numbers = el("span", "numbers");
    part("latency", numbers);
    part("agrees", numbers);
    const bar = el("span", "bar");
    part("level", bar);
    button.append(head);
    part("where", button);
    button.append(numbers, bar);
    part("fault", button);
    item.append(button);
    put(tile.id, String(id));
    return tile;
  }
}

function fill(tile, node, state, agreement) {
  putAttribute(tile.button, "data-state", state);
  putAttribute(tile.mark.firstChild, "href", `#mark-${state}`);
  put(tile.variant, node.variant);
  put(tile.stateText, state);
  put(tile.where, `${node.board} · ${node.transport}`);
  const latency = ms(node.estimate?.latency_p50_ms);
  put(tile.latency, latency);
  put(tile.agrees, percent(agreement));
  tile.level.style.width = agreement == null ? "0" : `${100 * agreement}%`;
  put(tile.fault, faultText(node.fault));
  tile.fault.classList.toggle("has", node.fault != null);
  const label =
    `Node ${node.id}, variant ${node.variant}, ${state}, median latency ${latency}, ` +
    `agrees ${percent(agreement)}, ${node.board} by ${node.transport}, ${faultText(node.fault)}`;
  putAttribute(tile.button, "aria-label", label);
  putAttribute(tile.button, "title", `${node.id} ${node.variant}: ${state}. ${node.reason}`);
}
