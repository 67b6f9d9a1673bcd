// What is wrong with a form, said beside the field that it is about.

import { inWords } from "./api.js";
import { el } from "./dom.js";

let made = 0;

/** Forget what was said before. */
export function clear(form) {
  for (const said of form.querySelectorAll(".error")) said.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    const left = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && !id.startsWith("error-"));
    if (left.length) field.setAttribute("aria-describedby", left.join(" "));
    else field.removeAttribute("aria-describedby");
  }
}

/** An error beside the field of its `param`, which gets the focus; else above the form's buttons. */
export function tell(form, error) {
  if (error.status === 401) return; // the key is asked for, which says why
  const field = fieldOf(form, error.param);
  const said = el("p", { className: "error", id: `error-${++made}`, role: "alert", textContent: field ? inWords({ ...error, message: beside(error.message) }) : inWords(error) });
  if (!field) {
    (form.querySelector(".actions") ?? form.lastElementChild).before(said);
    return;
  }
  (field.closest(".field") ?? field).append(said);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${field.getAttribute("aria-describedby") ?? ""} ${said.id}`.trim());
  (field.matches("input, select, textarea") ? field : field.querySelector("input"))?.focus();
}

/** A message without the field's name in the API, which its label says better. */
function beside(message) {
  return message.replace(/^(?:[a-z_]+(?:\.[a-z_]+)*: )+/, "").replace(/^[a-z_]+(?:\.[a-z_]+)*=/, "got ");
}

/** By its full name, or by that of the field whose part it is: `attributes.age` and `attributes` are told at one of both. */
function fieldOf(form, param) {
  if (!param) return null;
  const visible = [...form.querySelectorAll("[data-param]")].filter((field) => !field.closest("[hidden]"));
  return visible.find((field) => field.dataset.param === param)
    ?? visible.find((field) => field.dataset.param.startsWith(`${param}.`)) ?? null;
}
