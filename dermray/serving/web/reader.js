// The blinded reader study: who is let in, which image is shown, and what becomes of an answer.

import { inWords } from "./api.js";
import { $, counted } from "./dom.js";
import * as fields from "./fields.js";
import * as asks from "./reader_asks.js";
import * as form from "./reader_form.js";
import { Outbox, finish } from "./reader_outbox.js";
import * as review from "./reader_review.js";
import { Pictures } from "./reader_pictures.js";

let reading, said, outbox, pictures, keys; // of the reader who is in
let place = 0, since = 0, looked = 0; // the image that is shown, and how long: ms

function show(view, focus) {
  if (view !== "reading") measure(false);
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== view;
  const title = document.querySelector(`#${view} h1`);
  document.title = `${title.textContent} · Reader study`;
  $("leave").hidden = !asks.session();
  $("who").textContent = asks.session() ? `Reader ${asks.session().reader}` : "";
  (focus ?? title).focus();
  scrollTo(0, 0);
}

const tell = (text) => ($("told").textContent = text);
const remember = (what, value) => sessionStorage.setItem(asks.memory(what), JSON.stringify(value));
const remembered = (what) => JSON.parse(sessionStorage.getItem(asks.memory(what)));

/** Show how long an image is looked at: not while another tab is. */
function measure(on) {
  if (since) looked += performance.now() - since;
  since = on && !document.hidden ? performance.now() : 0;
}

function saving(entries, error) {
  const count = counted(entries.length, "answer");
  $("saved").classList.toggle("bad", Boolean(error));
  $("saved").textContent = error
    ? `${count} not saved yet: ${error.message}. Kept in this tab, and tried again until it is saved; leave the tab open.`
    : entries.length ? `Saving ${count}` : "All answers are saved.";
}

/** The service will not take an answer as it is. */
async function refused(entry, error) {
  if (error.status === 401) return out(error);
  try {
    await load();
  } catch (trouble) {
    return trouble.status === 401 ? out(trouble) : broken(trouble);
  }
  if (reading.finished) return ended();
  const kept = entry && said.get(entry.place);
  const words = (answer) => reading.questions.map(({ column }) => answer?.[column] ?? "no answer").join(", ");
  if (entry) tell(`Image ${entry.place}: ${inWords(error)} Saved is: ${words(kept)}. Not saved is: ${words(entry.said)}.`);
  go(entry?.place ?? place);
}

/** The session is over: whatever is not saved waits in this tab for the reader to come back. */
function out(error) {
  const waiting = outbox?.entries.length ?? 0;
  outbox?.stop();
  pictures?.forget();
  asks.drop();
  $("saved").textContent = "";
  tell(inWords(error) + (waiting ? ` ${counted(waiting, "answer")} of this tab ${waiting === 1 ? "is" : "are"} not saved yet, and will be sent when you go on here.` : ""));
  show("login", $("code"));
}

async function load() {
  reading = await asks.asked("/reading");
  said = new Map(reading.answers.map((answer) => [answer.place, answer.said]));
  const revisions = new Map(reading.answers.map((answer) => [answer.place, answer.revision]));
  if (outbox) outbox.revisions = revisions;
  for (const entry of outbox?.entries ?? []) said.set(entry.place, entry.said);
  return revisions;
}

/** What is chosen and not yet left, with the revision that it would replace. */
function draft(chosen) {
  remember("draft", { place, said: chosen, revision: outbox.revisions.get(place) ?? 0 });
}

/** The draft of before a reload, unless another browser has answered that image since. */
function drafted() {
  const before = remembered("draft");
  if (!before) return null;
  const known = outbox.revisions.get(before.place) ?? 0;
  if (before.revision === known || outbox.entries.some((entry) => entry.place === before.place)) return before;
  if (!same(before.said ?? {}, said.get(before.place) ?? {})) tell(`Image ${before.place} was answered in another browser meanwhile: that answer is shown.`);
  return { place: before.place };
}

/** Our own answer is there: what is drafted of its image replaces it. */
function kept(answered, revision) {
  const before = remembered("draft");
  if (before?.place === answered) remember("draft", { ...before, revision });
}

/** Begin, or go on where the reader was. */
async function enter() {
  try {
    outbox = null;
    const revisions = await load();
    outbox = new Outbox(revisions, { tell: saving, kept, refused });
  } catch (error) {
    return error.status === 401 ? out(error) : broken(error);
  }
  for (const entry of outbox.entries) said.set(entry.place, entry.said);
  pictures = new Pictures(reading, out);
  review.words(reading);
  keys = form.make(reading, () => draft(form.taken(reading).said ?? said.get(place)));
  if (reading.finished) return ended();
  outbox.send();
  const before = drafted(), open = review.open(reading, said);
  if (before) go(before.place, before.said);
  else if (!said.size) show("instructions");
  else open.length ? go(open[0]) : overview();
}

function ended() {
  sessionStorage.removeItem(asks.memory("draft"));
  $("saved").textContent = "";
  show("finished");
}

function broken(error) {
  $("broken-why").textContent = inWords(error);
  show("broken");
}

/** Show an image, with what its reader had chosen before a reload. */
function go(wanted, chosen) {
  place = Math.min(Math.max(wanted, 1), reading.images);
  measure(false);
  looked = 0;
  const done = reading.images - review.open(reading, said).length;
  $("place").textContent = `Image ${place} of ${reading.images}`;
  $("bar").value = done / reading.images;
  $("far").textContent = `${done} of ${reading.images} answered`;
  $("back").disabled = place === 1;
  form.fill(reading, chosen ?? said.get(place) ?? {});
  draft(chosen ?? said.get(place));
  show("reading");
  pictures.show(place, () => { looked = 0; measure(true); });
}

const same = (one, other) => JSON.stringify(Object.entries(one).map(String).sort()) === JSON.stringify(Object.entries(other).map(String).sort());

/** Take what the form says; false where it says something that is no answer. */
function take() {
  if ($("reading").hidden) return true;
  const found = form.taken(reading);
  if (found.wrong) {
    tell(`${found.label}: expected a whole number from ${reading.confidence[0]} to ${reading.confidence[1]}, or nothing.`);
    found.wrong.focus();
    return false;
  }
  tell("");
  if (since) measure(true);
  if (!same(found.said, said.get(place) ?? {})) {
    said.set(place, found.said);
    outbox.put(place, found.said, Math.min(Math.round(looked / 100) / 10, 86_400));
    looked = 0;
  }
  return true;
}

function next() {
  if (!take()) return;
  place < reading.images ? go(place + 1) : overview();
}

function back() {
  if (place > 1 && take()) go(place - 1);
}

function overview() {
  if (!take()) return;
  sessionStorage.removeItem(asks.memory("draft"));
  review.show(reading, said, go);
  show("review");
}

const sure = (dialog) => new Promise((resolve) => {
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  dialog.showModal();
});

async function begin(code, takeOver) {
  try {
    asks.drop();
    asks.keep(await asks.asked("/sessions", { method: "POST", json: { code, take_over: takeOver } }));
  } catch (error) {
    if (error.code !== "code_in_use") return fields.tell($("login-form"), { message: error.message, param: "code" });
    $("elsewhere-why").textContent = inWords(error);
    return (await sure($("elsewhere"))) ? begin(code, true) : $("code").focus();
  }
  $("code").value = "";
  tell("");
  await enter();
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  fields.clear($("login-form"));
  const code = $("code").value.trim();
  if (!code) return fields.tell($("login-form"), { message: "enter the code that you were given", param: "code" });
  begin(code, false);
});
$("start").addEventListener("click", () => go(remembered("draft")?.place ?? review.open(reading, said)[0] ?? 1));
$("answers").addEventListener("submit", (event) => { event.preventDefault(); next(); });
$("back").addEventListener("click", back);
$("to-review").addEventListener("click", overview);
$("to-words").addEventListener("click", () => take() && show("instructions"));
$("to-open").addEventListener("click", () => go(review.open(reading, said)[0]));
$("finish").addEventListener("click", async () => {
  const done = reading.images - review.open(reading, said).length;
  $("sure-why").textContent = `${done} of ${counted(reading.images, "image")} ${done === 1 ? "is" : "are"} answered.`;
  if (!(await sure($("sure")))) return;
  await outbox.send();
  if (outbox.entries.length) return; // told already
  try {
    await finish(done);
    ended();
  } catch (error) {
    if (error.status === 401) return out(error);
    tell(inWords(error));
    if (error.status === 409) await load().then(() => review.show(reading, said, go));
  }
});
$("leave").addEventListener("click", async () => {
  if (!take()) return;
  await outbox?.send();
  await asks.ask("/sessions", { method: "DELETE" }).catch(() => null); // it ends by itself, too
  sessionStorage.removeItem(asks.memory("draft"));
  pictures?.forget();
  asks.drop();
  location.reload(); // what was shown goes with it
});

addEventListener("keydown", (event) => {
  if ($("reading").hidden || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const writing = event.target.matches("input[type=number]");
  if (event.key === "Enter" && !event.target.closest("button, a")) next();
  else if (event.key === "ArrowLeft" && !writing) back();
  else if (event.key === "ArrowRight" && !writing) next();
  else if (writing || !$("keys").checked || event.key.length !== 1 || !keys.press(event.key.toLowerCase())) return;
  event.preventDefault();
});
document.addEventListener("visibilitychange", () => measure(!$("reading").hidden));
addEventListener("beforeunload", (event) => outbox?.entries.length && event.preventDefault());

async function open() {
  try {
    $("login-title").textContent = (await asks.asked("")).title;
  } catch (error) {
    return broken(error);
  }
  asks.session() ? await enter() : show("login", $("code"));
}
$("again").addEventListener("click", () => (asks.session() ? enter() : open()));
open();
