// Which view is shown, and who may see it.

import { Refused, asked, inWords } from "./api.js";
import { $ } from "./dom.js";
import * as fields from "./fields.js";
import * as key from "./key.js";

const VIEWS = ["generate", "classify", "runs"];
const modules = { generate: () => import("./generate.js"), classify: () => import("./classify.js"), runs: () => import("./runs.js") };
const ready = new Set();
let models = null; // none: nobody has been let in

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector(`#${name} h1`).textContent} · dermray`;
}

async function go({ focus = false } = {}) {
  if (!models) return;
  const wanted = location.hash.slice(1);
  if (wanted === "main") return; // the link that skips to the content
  const name = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  let view;
  try {
    view = await modules[name]();
  } catch {
    return unavailable("A part of this page could not be loaded. Load it again.");
  }
  if (!models) return; // the key was taken away meanwhile
  if (!ready.has(name)) {
    ready.add(name);
    view.setup?.(models);
  }
  show(name); // with all that is in it, so that nobody types into half a form
  if (focus) $("main").focus();
  view.shown?.();
}

function unavailable(why) {
  $("unavailable").querySelector(".error").textContent = why;
  show("unavailable");
}

async function enter({ focus = false } = {}) {
  try {
    models = (await asked("v1/models")).data;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) return; // told by `key-wanted`
    return unavailable(inWords(error));
  }
  $("log-out").hidden = !key.current();
  await go({ focus });
}

document.addEventListener("key-wanted", ({ detail }) => {
  const given = key.current();
  models = null;
  sessionStorage.removeItem("dermray-key");
  $("log-out").hidden = true;
  show("login");
  fields.clear($("login-form"));
  if (given) fields.tell($("login-form"), { message: detail.message, param: "key" });
  $("key").focus();
});

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = $("key").value.trim();
  fields.clear($("login-form"));
  const fault = key.fault(given);
  if (fault) return fields.tell($("login-form"), { message: fault, param: "key" });
  key.keep(given);
  await enter({ focus: true });
  if (models) $("key").value = "";
});

$("log-out").addEventListener("click", () => {
  key.forget();
  location.reload(); // what was shown with the key goes with it
});
$("unavailable").querySelector("button").addEventListener("click", () => enter({ focus: true }));
addEventListener("hashchange", () => go({ focus: true }));
enter();
