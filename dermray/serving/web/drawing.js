// A drawing at work: one job, or one for each value of a varied attribute. It is known by its jobs' ids, so it goes on
// after a reload.

import { inWords } from "./api.js";
import { $, counted, el } from "./dom.js";
import { Gallery } from "./gallery.js";
import * as jobs from "./jobs.js";

const PLACE = "dermray-drawing";

export const remembered = () => JSON.parse(sessionStorage.getItem(PLACE) ?? "null");
export const remember = (drawing) => sessionStorage.setItem(PLACE, JSON.stringify(drawing));
export const forget = () => sessionStorage.removeItem(PLACE);

/** Follow all of its jobs to their ends, and show what comes; gives the gallery. */
export async function watch(drawing, gallery = new Gallery(drawing)) {
  const now = new Map(); // by id
  busy(true);
  try {
    await Promise.all(drawing.parts.map((part) => jobs.follow(part.id, (job) => {
      now.set(part.id, job);
      gallery.show(part, job);
      tell(drawing, [...now.values()]);
    })));
    await gallery.settled();
    ended([...now.values()]);
  } catch (error) {
    status(inWords(error), true);
    if (error.status === 404) forget();
  } finally {
    busy(false);
  }
}

/** Those of its jobs that are not over end before their next step. */
export async function cancel(drawing) {
  status("Cancelling");
  await Promise.all(drawing.parts.map((part) => jobs.cancel(part.id)));
}

export function status(text, bad = false) {
  $("g-status").textContent = text;
  $("g-status").classList.toggle("bad", bad);
}

/** While a drawing is at work none other is begun, and nothing of it is cleared away. */
export function busy(yes) {
  if (!yes && document.activeElement === $("g-cancel")) $("g-draw").focus(); // a button that goes takes the focus with it
  $("g-clear").hidden = yes;
  $("g-progress").hidden = !yes;
  $("g-cancel").hidden = !yes;
  if (yes) $("g-draw").setAttribute("aria-disabled", "true");
  else $("g-draw").removeAttribute("aria-disabled");
}

const sum = (all, name) => all.reduce((total, job) => total + job[name], 0);

function tell(drawing, all) {
  const [images, done] = [sum(all, "images"), sum(all, "images_done")];
  const [steps, taken] = [sum(all, "steps"), sum(all, "steps_done")];
  const waiting = all.every((job) => job.status === "queued");
  $("g-bar").max = steps || 1;
  $("g-bar").value = taken;
  $("g-progress-text").textContent = waiting ? "Waiting for a turn" : `${done} of ${counted(images, "image")}, ${taken} of ${steps} steps`;
  if (all.length === drawing.parts.length) status(waiting ? "Waiting for a turn" : `${done} of ${counted(images, "image")} drawn`);
  notes(all);
}

function notes(all) {
  const words = [...new Set(all.flatMap((job) => job.unknown_words))];
  const said = [...new Set(all.flatMap((job) => job.warnings))].map((text) => [text, ""]);
  if (words.length) said.unshift([`The model does not know: ${words.join(", ")}`, ""]);
  for (const job of all) if (job.error) said.push([inWords(job.error), "bad"]);
  const lines = said.map(([text, kind]) => el("p", { className: kind, textContent: text }));
  if ($("g-notes").textContent !== lines.map((line) => line.textContent).join("")) $("g-notes").replaceChildren(...lines);
}

function ended(all) {
  const refused = all.reduce((total, job) => total + job.refused.length, 0);
  const there = all.reduce((total, job) => total + job.data.length, 0);
  const gate = refused ? `, ${refused} refused by the gate` : "";
  if (all.some((job) => job.status === "failed")) status(`Failed after ${counted(there, "image")}${gate}.`, true);
  else if (all.some((job) => job.status === "cancelled")) status(`Cancelled: ${counted(there, "image")} ${there === 1 ? "was" : "were"} there already${gate}.`);
  else status(`Done: ${counted(there, "image")}${gate}.`);
}
