// Answers on their way to the service. They stay in sessionStorage until the service has said that it keeps them: a
// reload, a lost response or an outage loses none, and what is sent twice is counted once.

import { ask, asked, memory, passing, seconds } from "./reader_asks.js";

const LONGEST = 20; // seconds between two tries

const word = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Outbox {
  /** revisions: of the answers that are known, by place. tell(entries, error): whenever something changed.
   *  kept(place, revision): one is saved. refused(entry, error): the service will never take this one. */
  constructor(revisions, { tell, kept, refused }) {
    Object.assign(this, { revisions, tell, kept, refused, key: memory("outbox"), sending: null, stopped: false });
    this.entries = JSON.parse(sessionStorage.getItem(this.key) ?? "[]");
  }

  /** Keep an answer and send it. What it replaces is settled now: what others save meanwhile is not overwritten. */
  put(place, said, shown) {
    const before = this.entries.some((entry) => entry.place === place); // its revision is not known yet
    const replaces = before ? null : this.revisions.get(place) ?? 0;
    this.entries.push({ place, said, replaces, sent_as: word(), seconds: shown });
    this.#store();
    this.send();
  }

  /** Until all is sent, or somebody has to look. */
  send() {
    this.sending ??= this.#all().finally(() => (this.sending = null));
    return this.sending;
  }

  stop() {
    this.stopped = true;
  }

  async #all() {
    for (let tried = 0; this.entries.length && !this.stopped; ) {
      const [entry] = this.entries;
      try {
        const { place, ...sent } = entry;
        const { revision } = await asked(`/reading/${place}`, { method: "PUT", json: sent });
        tried = 0;
        this.revisions.set(place, revision);
        this.entries.shift();
        for (const later of this.entries) if (later.place === place && later.replaces === null) { later.replaces = revision; break; }
        this.#store();
        this.kept(place, revision);
      } catch (error) {
        if (this.stopped) return;
        if (passing(error)) {
          this.tell(this.entries, error);
          await seconds(Math.min(error.after ?? 2 ** tried, LONGEST));
          tried += 1;
        } else if (error.status === 401) {
          this.stop(); // what is here waits until the reader is back
          return this.refused(null, error);
        } else {
          this.entries = this.entries.filter((other) => other.place !== entry.place);
          this.#store();
          this.refused(entry, error);
        }
      }
    }
  }

  #store() {
    if (this.entries.length) sessionStorage.setItem(this.key, JSON.stringify(this.entries));
    else sessionStorage.removeItem(this.key);
    this.tell(this.entries, null);
  }
}

export const finish = (answered) => ask("/finish", { method: "POST", json: { answered } });
