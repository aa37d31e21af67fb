// The connection to the gateway: calls, the stream of events, coming back, logging in.

import { byId, put } from "./dom.js";

const CALL_TIMEOUT_MS = 8000;
const RETRY_MS = [500, 1000, 2000, 3000];
const ANSWERS_PER_S = 8;
/** In this browser's storage while it is logged in; the session itself is out of a script's reach. */
const LOGGED_IN = "logged-in";
const EVENTS = ["answer", "skipped", "node", "fault", "warning"];

/** The gateway refused a call: `status`, and its own words as the message. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** JSON of a call. Throws Refused, or TypeError and AbortError where there is no gateway. */
export async function call(path, body = undefined) {
  const options = { signal: AbortSignal.timeout(CALL_TIMEOUT_MS), cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const reply = await fetch(path, options);
  const text = await reply.text();
  if (reply.ok) return text ? JSON.parse(text) : null;
  let why = reply.statusText;
  try {
    why = JSON.parse(text).error ?? why;
  } catch {
    // Not the gateway's own words: the status says enough.
  }
  throw new Refused(reply.status, why);
}

/**
 * Keeps one connection. `on.live(fleet)` is told when it stands, `on.away()` when it is lost,
 * `on.event(kind, data)` each event.
 */
export class Link {
  constructor(on) {
    this.on = on;
    this.failures = 0;
    byId("login-form").addEventListener("submit", (event) => this.#logIn(event));
    byId("login").addEventListener("cancel", (event) => event.preventDefault());
    byId("logout").addEventListener("click", () => this.#logOut());
    document.addEventListener("visibilitychange", () => {
      // A hidden page would keep one of the few connections that a browser allows to a host.
      if (document.hidden) this.#close();
      else this.connect();
    });
  }

  async connect() {
    this.#close();
    const attempt = (this.attempt = {});
    try {
      const fleet = await call("/v1/fleet");
      if (attempt !== this.attempt) return;
      byId("logout").hidden = !localStorage.getItem(LOGGED_IN);
      this.#listen(attempt, fleet);
    } catch (error) {
      if (attempt !== this.attempt) return;
      if (error instanceof Refused && error.status === 401) this.#askToken();
      else this.lost(error instanceof Refused ? `refused, trying again: ${error.message}` : undefined);
    }
  }

  /** Something failed, `why` in words for people: try again soon. */
  lost(why = undefined) {
    this.#close();
    this.on.away(why);
    const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)];
    if (!document.hidden) this.timer = setTimeout(() => this.connect(), wait);
  }

  #listen(attempt, fleet) {
    const source = (this.source = new EventSource(`/v1/events?answers_per_s=${ANSWERS_PER_S}`));
    source.onopen = () => {
      if (attempt !== this.attempt) return;
      this.failures = 0;
      this.on.live(fleet);
    };
    // A browser goes on by itself after some failures only; a new attempt does after all of them.
    source.onerror = () => attempt === this.attempt && this.lost();
    for (const kind of EVENTS)
      source.addEventListener(kind, (event) => this.on.event(kind, JSON.parse(event.data)));
  }

  #close() {
    this.attempt = null;
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  #askToken() {
    localStorage.removeItem(LOGGED_IN);
    this.on.away("waits for a token");
    if (!byId("login").open) byId("login").showModal();
  }

  async #logIn(event) {
    event.preventDefault();
    try {
      await call("/v1/login", { token: byId("token").value });
      byId("token").value = "";
      put(byId("login-error"), "");
      byId("login").close();
      localStorage.setItem(LOGGED_IN, "yes");
      this.connect();
    } catch (error) {
      const wrong = error instanceof Refused;
      put(byId("login-error"), wrong ? error.message : "The gateway does not answer.");
      byId("token").select();
    }
  }

  async #logOut() {
    await call("/v1/logout", {}).catch(() => null);
    location.reload();
  }
}
