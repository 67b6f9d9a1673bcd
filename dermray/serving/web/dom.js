// Elements, made in one line. Text is always text: nothing of an answer is ever read as HTML.

export const $ = (id) => document.getElementById(id);

/** An element. Properties are set as such; those with a dash, and `role`, as attributes. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Fill a select with [value, text] pairs, and keep its choice where that is still there. */
export function options(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => el("option", { value, textContent: text })));
  if (pairs.some(([value]) => value === before)) select.value = before;
}

/** A file for the user's disk. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export const rounded = (number, digits = 3) => Number(number).toLocaleString("en", { maximumFractionDigits: digits });
export const counted = (number, one, several = `${one}s`) => `${number} ${number === 1 ? one : several}`;
