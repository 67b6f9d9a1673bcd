// Jobs: asked for, listened to, cancelled. A connection that breaks is no matter: the next look says how far a job is.

import { Refused, ask, asked } from "./api.js";

const LOOK = 1000; // ms between looks where events do not come
const LOOKS = 8; // in vain, one after the other, over half a minute, until people are told
const OVER = ["succeeded", "failed", "cancelled"];

export const over = (job) => OVER.includes(job.status);
export const look = (id) => asked(`v1/jobs/${id}`);

/** A job; asked again with the same `repeat` it is the same one. */
export const submit = (body, repeat) => asked("v1/jobs", { method: "POST", json: body, headers: { "Idempotency-Key": repeat } });

/** Random letters; crypto.randomUUID is for secure contexts alone. */
export const unique = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The job as it is after cancelling; one that was over already is no fault. */
export async function cancel(id) {
  try {
    await ask(`v1/jobs/${id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 409) throw error;
  }
}

/** Calls `changed` with the job, images included, whenever it is further, until it is over. */
export async function follow(id, changed) {
  for (;;) {
    const job = await patiently(id);
    changed(job);
    if (over(job)) return job;
    let known = job;
    try {
      for await (const news of events(id)) {
        const further = news.images_done !== known.images_done || over(news); // events are without images
        known = further ? await look(id) : { ...known, ...news, data: known.data, refused: known.refused };
        changed(known);
        if (over(known)) return known;
      }
    } catch (error) {
      if (error instanceof Refused && [401, 403, 404].includes(error.status)) throw error;
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }
}

/** A look that outlives a service which is started anew, or a network that is gone for some seconds. */
async function patiently(id) {
  for (let tried = 1; ; tried++) {
    try {
      return await look(id);
    } catch (error) {
      const passing = error.status === 0 || error.status >= 500;
      if (!passing || tried >= LOOKS) throw error;
      await new Promise((resolve) => setTimeout(resolve, LOOK * tried));
    }
  }
}

/** Server-sent events, by fetch: EventSource sends no key. */
async function* events(id) {
  const ended = new AbortController();
  try {
    const answer = await ask(`v1/jobs/${id}/events`, { signal: ended.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (text + value.replaceAll("\r", "")).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    ended.abort();
  }
}
