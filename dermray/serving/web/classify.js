// Images in, scores out: a few at a time, so that one that cannot be read spoils no other.

import { Refused, asked } from "./api.js";
import { $, counted, el, options } from "./dom.js";
import * as fields from "./fields.js";
import { about, failed, picture, score } from "./scores.js";

const TOGETHER = 16; // images of a request
const EXPLAINED = 4; // of one with saliency, as the service has it
const form = $("classify-form");
let chosen = []; // {file, url}
let busy = false;

export function setup(all) {
  const models = all.filter((model) => model.task === "classification");
  options($("c-model"), models.map((model) => [model.id, model.id]));
  if (!models.length) status("No classifier is served here.", true);
  $("c-files").addEventListener("change", () => { add($("c-files").files); $("c-files").value = ""; });
  $("c-clear").addEventListener("click", () => { chosen.splice(0).forEach(({ url }) => URL.revokeObjectURL(url)); list(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); if (!busy) ask(); });
  for (const name of ["dragover", "dragleave", "drop"]) $("classify").addEventListener(name, drag);
}

function drag(event) {
  event.preventDefault(); // else the browser would leave the page and show the file
  $("c-drop").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") add(event.dataTransfer.files);
}

function add(files) {
  chosen.push(...[...files].map((file) => ({ file, url: URL.createObjectURL(file) })));
  fields.clear(form);
  list();
}

function list() {
  $("c-clear").hidden = !chosen.length;
  $("c-chosen").replaceChildren(...chosen.map((one, place) => {
    const remove = el("button", { type: "button", textContent: "×", "aria-label": `Remove ${one.file.name}` });
    remove.addEventListener("click", () => {
      chosen.splice(place, 1);
      list();
      ($("c-chosen").querySelectorAll("button")[place] ?? $("c-files")).focus();
    });
    return el("li", {}, picture(one.url, one.file.name), remove);
  }));
}

async function ask() {
  fields.clear(form);
  if (!chosen.length) return fields.tell(form, { param: "image", message: "Choose at least one image" });
  const images = [...chosen];
  const saliency = $("c-saliency").checked;
  const size = saliency ? EXPLAINED : TOGETHER;
  busy = true;
  $("scores").replaceChildren();
  $("c-about").replaceChildren();
  $("c-empty").hidden = true;
  try {
    for (let first = 0; first < images.length; first += size) {
      status(`Scoring: ${first} of ${counted(images.length, "image")}`);
      await some(images.slice(first, first + size), saliency);
    }
    const failed = $("scores").querySelectorAll(".failed").length;
    status(`Scored ${counted(images.length - failed, "image")}${failed ? `; ${failed} could not be` : ""}.`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    status("");
    fields.tell(form, error);
  } finally {
    busy = false;
  }
}

/** A request's images; where none of them can be read, each is asked for alone, to learn what is wrong with it. */
async function some(images, saliency) {
  const body = new FormData();
  body.append("model", $("c-model").value);
  if (saliency) body.append("saliency", "true");
  for (const { file } of images) body.append("image", file);
  try {
    const answer = await asked("v1/classifications", { method: "POST", body });
    if (!$("c-about").childElementCount) $("c-about").append(...about(answer));
    answer.data.forEach((result, place) => $("scores").append(score(images[place], result, answer)));
  } catch (error) {
    const unreadable = error instanceof Refused && ["bad_image", "too_large"].includes(error.code);
    if (!unreadable) throw error;
    if (images.length === 1) $("scores").append(failed(images[0], error));
    else for (const image of images) await some([image], saliency);
  }
}

function status(text, bad = false) {
  $("c-status").textContent = text;
  $("c-status").classList.toggle("bad", bad);
}
