// "Vary one attribute": which one, and which of its values.

import { ATTRIBUTES } from "./attributes.js";
import { $, el, options } from "./dom.js";

const MOST = 3; // values that are ticked at first

export function setup() {
  options($("g-vary"), [["", "none"], ...Object.entries(ATTRIBUTES).map(([name, { called }]) => [name, called])]);
  $("g-vary").addEventListener("change", () => offer($("g-vary").value));
}

/** Show the values of an attribute; those that are named, or the first ones, are ticked. */
export function offer(name, ticked = null) {
  $("g-vary").value = name;
  const values = name ? ATTRIBUTES[name].values : [];
  $("g-values").hidden = !name;
  $("g-values").replaceChildren(...values.map(([value, text], place) => {
    const box = el("input", { type: "checkbox", id: `value-${place}`, value, checked: ticked ? ticked.includes(value) : place < MOST });
    return el("span", {}, box, el("label", { for: box.id, textContent: text }));
  }));
  for (const attribute of Object.keys(ATTRIBUTES)) $("generate-form").elements[attribute].disabled = attribute === name;
}

/** The attribute and its values; raises what `fields.tell` tells where fewer than two are ticked. */
export function chosen() {
  const name = $("g-vary").value;
  if (!name) return { name: null, values: [] };
  const values = [...$("g-values").querySelectorAll("input:checked")].map((box) => box.value);
  if (values.length < 2) throw { param: "vary", message: "Tick at least two values: they are drawn side by side." };
  return { name, values };
}
