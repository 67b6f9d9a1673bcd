// What a classifier says of an image: in words and numbers, and as bars.

import { inWords } from "./api.js";
import { el } from "./dom.js";

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** What holds for all images of an answer. */
export function about(answer) {
  const calm = el("p", { className: "calm", textContent: answer.notice });
  const said = [calm];
  const point = answer.operating_point;
  if (point) {
    calm.append(
      ` Malignant is said from a probability of ${percent(point.threshold)}. On the validation split that found `
      + `${percent(point.sensitivity)} of ${point.malignant} malignant images, and ${percent(point.specificity)} of `
      + `${point.benign} benign ones were called benign; on other images expect less.`);
  }
  if (!answer.calibrated) said.push(el("p", { textContent: "These probabilities were never calibrated: read them as scores." }));
  return said;
}

/** One image and its result. */
export function score({ file, url }, result, answer) {
  if (result.error) return failed({ file, url }, result.error);
  const bars = Object.entries(result.probabilities).map(([name, share]) => bar(name, share)).flat();
  const strange = result.out_of_distribution;
  const lines = [
    el("h2", { textContent: result.predicted }),
    el("p", { className: "name", textContent: file.name }),
    el("div", { className: "bars" }, ...bars),
    strange?.flagged ? note("It looks like none of the images that the classifier was trained on: these probabilities mean nothing.") : null,
  ];
  const pictures = [picture(url, file.name)];
  if (result.saliency) {
    pictures.push(picture(`data:image/png;base64,${result.saliency.b64_json}`, `What the answer for ${file.name} depends on`));
    lines.push(el("p", { className: "hint", textContent: `Red squares speak for “${result.predicted}”, blue ones against it; covering one lowers its probability by ${(100 * result.saliency.largest_fall).toFixed(1)} percentage points at most.` }),
      el("details", {}, el("summary", { textContent: "How this picture is made" }), el("p", { className: "hint", textContent: result.saliency.method })));
  }
  lines.push(el("details", {}, el("summary", { textContent: "Model and image" }), el("dl", {},
    ...pair("model", `${answer.model}, weights ${answer.version}`), ...pair("image (SHA-256)", result.sample_id))));
  return article(pictures, lines, result.saliency ? "score explained" : "score");
}

/** An image that was not scored. */
export function failed({ file, url }, error) {
  const why = { message: error.message.replace(/^image \d+: /, "") };
  return article([picture(url, file.name)], [
    el("h2", { textContent: "Not scored" }), el("p", { className: "name", textContent: file.name }), el("p", { className: "error", textContent: inWords(why) }),
  ], "score failed");
}

const article = (pictures, lines, className = "score") =>
  el("article", { className }, el("div", { className: "pictures" }, ...pictures), el("div", {}, ...lines.filter(Boolean)));

const note = (text) => el("div", { className: "notes" }, el("p", { textContent: text }));

const pair = (name, text) => [el("dt", { textContent: name }), el("dd", { className: "mono", textContent: text })];

/** An image; where the browser cannot show its kind, words in its place. */
export function picture(src, alt) {
  const image = el("img", { src, alt });
  image.addEventListener("error", () => image.replaceWith(el("span", { className: "none", textContent: "no preview" })));
  return image;
}

function bar(name, share) {
  const fill = el("span");
  fill.style.inlineSize = `${100 * share}%`;
  const meter = el("span", { className: "meter", role: "meter", "aria-label": `Probability of ${name}`, "aria-valuemin": "0", "aria-valuemax": "1",
    "aria-valuenow": String(share), "aria-valuetext": percent(share) }, fill);
  return [el("span", { textContent: name }), meter, el("span", { className: "number", textContent: percent(share) })];
}
