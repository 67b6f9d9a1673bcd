// Images, fetched with the session into memory: nothing of them stays in the browser's cache, and no address says more
// than an image's place in this reader's order.

import { $ } from "./dom.js";
import { ask, passing, seconds } from "./reader_asks.js";

const KEPT = 4; // images in memory
const LONGEST = 20; // seconds between two tries

export class Pictures {
  /** out(error): the session is over. */
  constructor(reading, out) {
    Object.assign(this, { reading, out, urls: new Map(), place: 0 });
    $("image").width = $("image").height = reading.side;
    $("reload-image").onclick = () => this.show(this.place, this.seen);
  }

  /** Show an image; seen() once it is there. */
  async show(place, seen) {
    Object.assign(this, { place, seen });
    this.#blank("Loading");
    for (let tried = 0; this.place === place; tried += 1) {
      try {
        const url = await this.#url(place);
        if (this.place !== place) return;
        $("image").src = url;
        await $("image").decode();
        $("image").alt = `Image ${place} of ${this.reading.images}`;
        $("image").hidden = false;
        $("no-image").hidden = true;
        seen();
        if (place < this.reading.images) this.#url(place + 1).catch((error) => error.status === 401 && this.place === place && this.out(error)); // while this one is looked at
        return;
      } catch (error) {
        if (this.place !== place) return;
        if (error.status === 401) return this.out(error);
        this.#blank(`The image cannot be shown: ${error.message}.`, true);
        if (!passing(error)) return;
        await seconds(Math.min(error.after ?? 2 ** tried, LONGEST));
      }
    }
  }

  forget() {
    this.place = 0;
    for (const url of this.urls.values()) url.then(URL.revokeObjectURL).catch(() => null);
    this.urls.clear();
    $("image").removeAttribute("src");
  }

  /** Each is asked for once while it is kept. */
  #url(place) {
    if (!this.urls.has(place)) {
      const url = ask(`/images/${place}`).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
      this.urls.set(place, url);
      url.catch(() => this.urls.delete(place));
      for (const old of [...this.urls.keys()].filter((one) => Math.abs(one - place) >= KEPT)) {
        this.urls.get(old).then(URL.revokeObjectURL).catch(() => null);
        this.urls.delete(old);
      }
    }
    return this.urls.get(place);
  }

  #blank(text, failed = false) {
    $("image").hidden = true;
    $("no-image").hidden = false;
    $("no-image-text").textContent = text;
    $("reload-image").hidden = !failed;
  }
}
