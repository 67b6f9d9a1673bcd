// Finished runs: their stages, and the pages that these left.

import { asked, inWords } from "./api.js";
import { $, el } from "./dom.js";

/** Looked at whenever the view is shown: links work for a while. */
export async function shown() {
  if (!$("run-list").childElementCount) $("r-status").textContent = "Looking";
  try {
    const runs = (await asked("v1/runs")).data;
    $("r-status").textContent = runs.length ? "" : "This service shows no run: name some under `runs` in its config.";
    $("run-list").replaceChildren(...runs.map(run));
  } catch (error) {
    $("r-status").textContent = inWords(error);
    $("r-status").classList.add("bad");
  }
}

function run(one) {
  return el("article", { className: "run" },
    el("h2", { textContent: one.name }),
    one.error ? el("p", { className: "error", textContent: `This run is ${one.error}.` }) : null,
    files(one.files, one.name),
    el("div", { className: "stages" }, ...one.stages.map((stage) => ofStage(stage, one.name))));
}

function ofStage(one, run) {
  if (one.error) return el("section", { className: "stage" }, el("h3", { textContent: one.stage }), el("p", { className: "error", textContent: one.error }));
  const when = new Date(one.finished * 1000);
  const { rows_in: all, ok } = one.rows;
  return el("section", { className: "stage" },
    el("div", {}, el("h3", { textContent: one.stage }),
      el("p", { className: "when number" }, el("time", { dateTime: when.toISOString(), textContent: when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) })),
      el("p", { className: "when mono", textContent: one.key })),
    el("div", { className: "number" },
      el("p", { textContent: `${ok.toLocaleString("en")} of ${all.toLocaleString("en")} rows` }),
      ...one.headlines.map((text) => el("p", { className: "when", textContent: text }))),
    files(one.files, `${one.stage} of ${run}`));
}

/** Links that work for an hour, without the key: each opens a page that may run no script. */
function files(all, of) {
  const called = ({ name }) => (name.endsWith(".html") ? { "report.html": "Report" }[name] ?? "Page" : name);
  const several = all.filter(({ name }) => name.endsWith(".html")).length > 1;
  return el("p", { className: "pages" }, ...all.map((file) => {
    const text = several ? file.name : called(file);
    return el("a", { href: file.url, target: "_blank", rel: "noopener noreferrer", textContent: text, "aria-label": `${text}, ${of}, in a new tab` });
  }));
}
