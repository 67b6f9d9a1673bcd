// Questions of a reader's page to the service, with the reader's session: in this tab's sessionStorage, so that two
// readers in two tabs of one browser are never taken for each other, and no other site can speak in their name.

import { Refused } from "./api.js";

export const NAME = decodeURIComponent(location.pathname.split("/").pop());
const ROOT = `../v1/reader-studies/${encodeURIComponent(NAME)}`;
const PLACE = `reading:${NAME}`;
const PATIENCE = 30_000; // ms for an answer

export const session = () => JSON.parse(sessionStorage.getItem(PLACE)); // {session, reader} or null
export const keep = (begun) => sessionStorage.setItem(PLACE, JSON.stringify(begun));
export const drop = () => sessionStorage.removeItem(PLACE);
/** What this tab remembers of a reader, by what it is. */
export const memory = (what) => `${PLACE}:${session()?.reader}:${what}`;

/** An answer of the service; raises Refused, whose `after` is how many seconds to wait, if the service says so. */
export async function ask(path, { method = "GET", json } = {}) {
  const headers = {};
  if (session()) headers.Authorization = `Bearer ${session().session}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    answer = await fetch(ROOT + path, { method, headers, body: json && JSON.stringify(json), cache: "no-store", signal });
  } catch {
    throw new Refused(0, { message: "the service cannot be reached" });
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const refused = new Refused(answer.status, told.error ?? { message: `the service answered ${answer.status}` });
  throw Object.assign(refused, { after: Number(answer.headers.get("Retry-After")) || null });
}

export const asked = async (path, options) => (await ask(path, options)).json();

/** Whether asking again may help. */
export const passing = (error) => error instanceof Refused && (error.status === 0 || error.status === 429 || error.status >= 500);
export const seconds = (number) => new Promise((resolve) => setTimeout(resolve, number * 1000));
