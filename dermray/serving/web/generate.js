// The form of a drawing.

import { ATTRIBUTES, typed } from "./attributes.js";
import { $, options } from "./dom.js";
import * as drawings from "./drawing.js";
import * as fields from "./fields.js";
import { Gallery } from "./gallery.js";
import * as jobs from "./jobs.js";
import * as vary from "./vary.js";

const NUMBERS = { n: "images", seed: "seed", steps: "steps", guidance_scale: "guidance" };
const form = $("generate-form");
let models = [];
let drawing = null;
let gallery = null;

export function setup(all) {
  models = all.filter((model) => model.task === "generation");
  options($("g-model"), models.map((model) => [model.id, model.id]));
  for (const [name, { values }] of Object.entries(ATTRIBUTES)) {
    if (form.elements[name].tagName === "SELECT") options(form.elements[name], [["", "any"], ...values]);
  }
  vary.setup();
  $("g-model").addEventListener("change", suit);
  $("g-cancel").addEventListener("click", () => drawing && drawings.cancel(drawing).catch((error) => fields.tell(form, error)));
  $("g-all").addEventListener("click", () => gallery.download());
  $("g-clear").addEventListener("click", empty);
  form.addEventListener("submit", (event) => { event.preventDefault(); draw(); });
  if (!models.length) {
    $("g-draw").setAttribute("aria-disabled", "true");
    drawings.status("No model for drawing is served here.", true);
  }
  suit();
  resume();
}

/** The form as the chosen model has it. */
function suit() {
  const model = models.find((one) => one.id === $("g-model").value);
  if (!model) return;
  const sizes = model.sizes.length ? model.sizes : [model.image_size];
  options($("g-size"), sizes.map((size) => [`${size}x${size}`, `${size} × ${size} px`]));
  if (!form.dataset.filled) $("g-size").value = `${model.image_size}x${model.image_size}`;
  $("g-negative-field").hidden = !model.negative_prompts;
  $("g-model-hint").textContent = model.licence && model.licence !== "unknown" ? `Licence of its images: ${model.licence}` : "";
}

async function draw() {
  if ($("g-draw").getAttribute("aria-disabled")) return;
  fields.clear(form);
  try {
    const { name, values } = vary.chosen();
    const body = asked(name);
    if (name) body.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
    empty();
    drawings.busy(true);
    drawings.status("Asking");
    const parts = [];
    for (const value of name ? values : [null]) {
      const attributes = name ? { ...body.attributes, [name]: typed(name, value) } : body.attributes;
      const whole = Object.keys(attributes).length ? { ...body, attributes } : { ...body, attributes: undefined };
      parts.push({ id: (await jobs.submit(whole, jobs.unique())).id, value });
      drawing = { parts, attribute: name, form: filled() }; // kept at once: what was asked for goes on after a reload
      drawings.remember(drawing);
    }
    follow();
  } catch (error) {
    if (!error.message) throw error;
    drawings.busy(false);
    drawings.status("");
    if (drawing) drawings.cancel(drawing).catch(() => {}).finally(empty); // of several, some were begun
    fields.tell(form, error);
  }
}

/** What the form asks for, without what is left open. */
function asked(varied) {
  const body = { model: $("g-model").value, size: $("g-size").value || undefined, attributes: {} };
  for (const [name, called] of Object.entries(NUMBERS)) {
    const field = form.elements[name];
    if (field.validity.badInput) throw { param: name, message: `Expected a number of ${called}` };
    if (field.value !== "") body[name] = field.valueAsNumber;
  }
  for (const name of Object.keys(ATTRIBUTES)) {
    const value = form.elements[name].value.trim();
    if (value && name !== varied) body.attributes[name] = typed(name, value);
  }
  if ($("g-prompt").value.trim()) body.prompt = $("g-prompt").value.trim();
  if (!$("g-negative-field").hidden && $("g-negative").value.trim()) body.negative_prompt = $("g-negative").value.trim();
  return body;
}

const filled = () => ({
  fields: Object.fromEntries([...form.elements].filter((field) => field.name).map((field) => [field.name, field.value])),
  values: [...$("g-values").querySelectorAll("input:checked")].map((box) => box.value),
});

function follow() {
  gallery = new Gallery(drawing);
  drawings.watch(drawing, gallery);
}

/** What this tab was drawing before it was loaded again. */
function resume() {
  drawing = drawings.remembered();
  if (!drawing) return;
  for (const [name, value] of Object.entries(drawing.form.fields)) if (form.elements[name]) form.elements[name].value = value;
  form.dataset.filled = "yes";
  vary.offer(drawing.attribute ?? "", drawing.form.values);
  suit();
  follow();
}

function empty() {
  drawings.forget();
  drawing = null;
  gallery = null;
  for (const image of $("gallery").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  for (const name of ["gallery", "g-notes"]) $(name).replaceChildren();
  $("g-tools").hidden = true;
  $("g-empty").hidden = false;
  drawings.status("");
}
