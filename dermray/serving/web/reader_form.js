// The questions beside an image, and the keys that answer them.

import { $, el } from "./dom.js";

const DIGITS = "123456789", LETTERS = "abcdefghijklmnopqrstuvwxyz";
const shown = (column) => column.charAt(0).toUpperCase() + column.slice(1).replaceAll("_", " ");

/** A key for each word, by column: digits for the first question, letters of their own for the others. */
export function keysOf(questions) {
  const free = new Set(LETTERS), keys = {};
  for (const { column, answers } of questions.slice(1)) {
    keys[column] = answers.map(({ word }) => {
      const key = [...word.toLowerCase(), ...free].find((letter) => free.has(letter));
      free.delete(key);
      return key;
    });
  }
  const rest = [...DIGITS, ...free];
  keys[questions[0].column] = questions[0].answers.map((_, number) => rest[number]);
  return keys;
}

/** Make the form. changed(): after whatever a reader does to it. */
export function make(reading, changed) {
  const keys = keysOf(reading.questions);
  const [least, most] = reading.confidence;
  $("questions").replaceChildren(...reading.questions.map(({ column, text, answers }) => el("fieldset", {},
    el("legend", { textContent: text }),
    ...answers.map(({ word, meaning }, number) => el("label", { className: "choice" },
      el("input", { type: "radio", name: column, value: word }),
      keys[column][number] ? el("kbd", { textContent: keys[column][number], "aria-hidden": "true" }) : null,
      el("span", {}, el("strong", { textContent: word }), meaning ? el("span", { className: "meaning", textContent: `  ${meaning}` }) : null))),
    el("div", { className: "sureness" },
      el("label", { for: `sure-${column}`, textContent: `How sure, ${least} (a guess) to ${most} (certain); optional` }),
      el("input", { id: `sure-${column}`, name: `${column}_confidence`, type: "number", min: least, max: most, step: 1, inputMode: "numeric", autocomplete: "off" })))));
  $("answers").addEventListener("change", changed);
  $("answers").addEventListener("input", changed);
  return { press: (key) => press(reading.questions, keys, key, changed) };
}

function press(questions, keys, key, changed) {
  for (const { column, answers } of questions) {
    const number = keys[column].indexOf(key);
    if (number < 0) continue;
    const radio = $("answers").elements[column][number];
    radio.checked = true;
    radio.focus({ preventScroll: true });
    changed();
    return answers[number].word;
  }
  return null;
}

/** Show an answer. */
export function fill(reading, said) {
  for (const { column } of reading.questions) {
    for (const radio of $("answers").elements[column]) radio.checked = radio.value === said[column];
    const sure = $(`sure-${column}`);
    sure.value = said[sure.name] ?? "";
    sure.removeAttribute("aria-invalid");
  }
}

/** What is chosen; a confidence that is none makes it null, and is shown. */
export function taken(reading) {
  const said = {};
  let wrong = null;
  for (const { column } of reading.questions) {
    const chosen = $("answers").elements[column].value;
    if (chosen) said[column] = chosen;
    const sure = $(`sure-${column}`);
    sure.toggleAttribute("aria-invalid", !sure.validity.valid);
    if (!sure.validity.valid) wrong = sure.setAttribute("aria-invalid", "true") ?? sure;
    else if (sure.value !== "") said[sure.name] = Number(sure.value);
  }
  return wrong ? { said: null, wrong, label: shown(wrong.name) } : { said };
}

export const complete = (reading, said) => Boolean(said) && reading.questions.every(({ column }) => said[column]);
