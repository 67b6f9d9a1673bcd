// Images as they come, each with what it takes to draw it again.

import { ask } from "./api.js";
import { named } from "./attributes.js";
import { $, download, el, rounded } from "./dom.js";
import { said } from "./png.js";
import { zipped } from "./zip.js";

const AT_ONCE = 4; // images that are fetched together
const FIRST = ["prompt", "seed"]; // of what a file says

export class Gallery {
  /** @param drawing `parts` (jobs, with the value each has of `attribute` where one is varied). */
  constructor(drawing) {
    this.drawing = drawing;
    this.files = new Map(); // by name: bytes
    this.places = new Map(); // by job and place: its tile
    this.queue = [];
    this.busy = 0;
    this.idle = [];
    this.grid = el("div", { className: "tiles" });
    $("gallery").replaceChildren(...(drawing.attribute ? [] : [this.grid]));
    $("g-empty").hidden = true;
  }

  /** What is new of a job. */
  show(part, job) {
    for (const image of job.data) this.once(part, image.index, () => this.queue.push({ part, job, image }));
    job.refused.forEach((one) => this.once(part, `refused ${one.seed}`, () => this.refuse(part, job, one)));
    this.fetch();
  }

  once(part, place, then) {
    const key = `${part.id} ${place}`;
    if (this.places.has(key)) return;
    this.places.set(key, true);
    then();
  }

  fetch() {
    while (this.busy < AT_ONCE && this.queue.length) {
      const next = this.queue.shift();
      this.busy++;
      this.draw(next).catch((error) => this.tile(next.part, next.image.seed, none(`Not fetched: ${error.message}`))).finally(() => {
        this.busy--;
        this.fetch();
        if (!this.busy) this.idle.splice(0).forEach((resolve) => resolve());
      });
    }
  }

  /** Once every image that is known of is there. */
  async settled() {
    if (this.busy || this.queue.length) await new Promise((resolve) => this.idle.push(resolve));
  }

  async draw({ part, job, image }) {
    const bytes = await (await ask(`v1/jobs/${part.id}/images/${image.index}/png`)).arrayBuffer();
    const name = `${part.value ? `${part.value.replaceAll(/[^A-Za-z0-9]/g, "-")}-` : ""}seed-${image.seed}-${image.sample_id.slice(0, 12)}.png`;
    this.files.set(name, bytes);
    const about = said(bytes);
    const prompt = about.texts.find(([key]) => key === "prompt")?.[1] ?? "";
    const blob = new Blob([bytes], { type: "image/png" });
    const picture = el("img", { src: URL.createObjectURL(blob), alt: `Synthetic image: ${prompt}, seed ${image.seed}` });
    picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth <= 128));
    const get = el("button", { type: "button", className: "link", textContent: "Download", "aria-label": `Download the image of seed ${image.seed}` });
    get.addEventListener("click", () => download(blob, name));
    this.tile(part, image.seed, picture, [
      this.drawing.attribute ? null : el("p", { className: "who number", textContent: `Seed ${image.seed}` }),
      image.gate_distance === undefined ? null
        : el("p", { className: "number", textContent: `Gate: ${rounded(image.gate_distance, 2)} × the least distance allowed` }),
      this.drawing.attribute ? null : el("p", { textContent: prompt }),
      provenance(job, image, about), get,
    ]);
    $("g-tools").hidden = false;
    $("g-count").textContent = `${job.size.replace("x", " × ")} px, licence ${job.licence}`;
  }

  refuse(part, job, one) {
    const said = `Refused by the memorisation gate: nearer to a training image than it allows (${rounded(one.gate_distance, 2)} of that).`;
    this.tile(part, one.seed, none(said), [el("p", { className: "who number", textContent: `Seed ${one.seed}` })]);
  }

  /** A figure in its place: in the grid, or in its seed's row below its value. */
  tile(part, seed, picture, lines = []) {
    const value = this.drawing.attribute ? el("p", { className: "value", textContent: named(this.drawing.attribute, part.value) }) : null;
    const figure = el("figure", { className: "tile" }, picture, el("figcaption", {}, value, ...lines.filter(Boolean)));
    if (!this.drawing.attribute) {
      figure.seed = seed;
      const after = [...this.grid.children].find((other) => other.seed > seed);
      this.grid.insertBefore(figure, after ?? null);
      return;
    }
    const order = this.drawing.parts.findIndex((other) => other.id === part.id);
    this.row(seed).children[order].replaceWith(figure);
  }

  row(seed) {
    const found = [...$("gallery").children].find((row) => row.seed === seed);
    if (found) return found.lastChild;
    const waiting = this.drawing.parts.map((part) =>
      el("figure", { className: "tile" }, none("Being drawn"), el("figcaption", {}, el("p", { className: "value", textContent: named(this.drawing.attribute, part.value) }))));
    const side = el("div", { className: "side-by-side", tabIndex: 0, role: "group", "aria-label": `Seed ${seed}, value by value` }, ...waiting);
    const row = el("section", { className: "row-of" }, el("h2", { textContent: `Seed ${seed}, with the same prompt otherwise` }), side);
    row.seed = seed;
    const after = [...$("gallery").children].find((other) => other.seed > seed);
    $("gallery").insertBefore(row, after ?? null);
    return side;
  }

  /** All of them as one archive. */
  download() {
    download(zipped([...this.files]), "dermray-images.zip");
  }
}

const none = (text) => el("div", { className: "none", textContent: text });

function provenance(job, image, about) {
  const lines = [
    ...FIRST.flatMap((wanted) => about.texts.filter(([name]) => name === wanted)),
    ...about.texts.filter(([name]) => !FIRST.includes(name)).map(([name, text]) => [name.replaceAll("_", " "), text]),
    ["sample id (SHA-256)", image.sample_id], ["job", job.id],
    ["signature", about.signed ? "a C2PA manifest is in the file: check it with dermray provenance" : "none: this service does not sign"],
  ];
  const list = el("dl", {}, ...lines.flatMap(([name, text]) => [el("dt", { textContent: name }), el("dd", { textContent: text })]));
  return el("details", {}, el("summary", { textContent: "Provenance" }), list);
}
