// All images by number, and which of them have no answer yet.

import { $, counted, el } from "./dom.js";
import { complete } from "./reader_form.js";

/** Places without a whole answer. */
export function open(reading, said) {
  return Array.from({ length: reading.images }, (_, at) => at + 1).filter((place) => !complete(reading, said.get(place)));
}

/** Show them. go(place): a reader wants to see one. */
export function show(reading, said, go) {
  const missing = new Set(open(reading, said));
  const done = reading.images - missing.size;
  $("review-count").textContent = missing.size
    ? `${done} of ${counted(reading.images, "image")} answered. ${counted(missing.size, "image has", "images have")} no whole answer yet; they are dashed.`
    : `All ${counted(reading.images, "image")} are answered.`;
  $("to-open").hidden = !missing.size;
  $("finish").className = missing.size ? "" : "main";
  $("places").replaceChildren(...Array.from({ length: reading.images }, (_, at) => {
    const open = missing.has(at + 1);
    const button = el("button", { type: "button", className: open ? "open" : "done", textContent: at + 1, "aria-label": `Image ${at + 1}, ${open ? "unanswered" : "answered"}` });
    button.addEventListener("click", () => go(at + 1));
    return el("li", {}, button);
  }));
  return done;
}

/** Tell what is asked, and what the words mean. */
export function words(reading) {
  $("instructions-title").textContent = reading.title;
  $("how-many").textContent = reading.questions.length === 2 ? "two" : reading.questions.length;
  $("how-many-images").textContent = reading.images;
  $("study").textContent = reading.study;
  $("commitment").textContent = reading.commitment;
  $("words").replaceChildren(...reading.questions.map(({ text, answers }) => el("li", {},
    el("strong", { textContent: text }),
    el("dl", {}, ...answers.flatMap(({ word, meaning }) => [el("dt", { textContent: word }), el("dd", { textContent: meaning })])))));
}
