// Questions to the service, with the key where there is one.

import * as key from "./key.js";

const TRIES = 4;
const PATIENCE = 15; // seconds that a busy service may tell us to wait; longer is for people to decide

/** An answer of 400 and above, or none at all (status 0). */
export class Refused extends Error {
  constructor(status, { message, param = null, code = null }) {
    super(message);
    Object.assign(this, { status, param, code });
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** The answer to a question; raises Refused. Busy services are asked again: nothing here does harm twice. */
export async function ask(path, { method = "GET", json, body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (key.current()) sent.Authorization = `Bearer ${key.current()}`;
  if (json !== undefined) sent["Content-Type"] = "application/json";
  const request = { method, headers: sent, body: json === undefined ? body : JSON.stringify(json), signal, cache: "no-store" };
  for (let tried = 1; ; tried++) {
    const [answer, refused] = await once(path, request);
    if (answer) return answer;
    const after = refused.after;
    if (tried >= TRIES || after === null || after > PATIENCE) {
      if (refused.status === 401) document.dispatchEvent(new CustomEvent("key-wanted", { detail: refused }));
      throw refused;
    }
    await pause(after);
  }
}

async function once(path, request) {
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const refused = new Refused(0, { message: "The service cannot be reached. Is it running, and is the network there?" });
    return [null, Object.assign(refused, { after: null })];
  }
  if (answer.ok) return [answer, null];
  const told = await answer.json().catch(() => ({}));
  const refused = new Refused(answer.status, told.error ?? { message: `The service answered ${answer.status}.` });
  const after = answer.headers.get("Retry-After");
  return [null, Object.assign(refused, { after: [429, 503].includes(answer.status) && after ? Number(after) : null })];
}

export const asked = async (path, options) => (await ask(path, options)).json();

/** A refusal in words for people who did not read the API's documentation. */
export function inWords(error) {
  if (error.code === "not_loopback") return `The service refuses this browser: ${error.message}.`;
  const text = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
