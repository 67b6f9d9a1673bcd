// What the official Node client does with the service: prints one line of JSON.
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const prompt = "malignant, skin tone B: red.";
const name = async (call) => { try { await call; return "none"; } catch (e) { return `${e.constructor.name}: ${e.message}`; } };

const models = [];
for await (const model of await client.models.list()) models.push(model.id);
const drawn = await client.images.generate({ model: "pixel", prompt, n: 2, size: "16x16", response_format: "b64_json", user: "u" });
const again = await client.images.generate({ model: "pixel", prompt, seed: drawn.data[1].seed });
const linked = await client.images.generate({ model: "pixel", prompt, response_format: "url" });
const fetched = await fetch(linked.data[0].url);
console.log(JSON.stringify({
  models,
  images: drawn.data.length,
  same: drawn.data[1].b64_json === again.data[0].b64_json,
  fetched: [fetched.status, fetched.headers.get("content-type"), (await fetched.arrayBuffer()).byteLength > 100],
  wrong: await name(client.images.generate({ model: "pixel", prompt, size: "1024x1024" })),
  unknown: await name(client.images.generate({ model: "dall-e-3", prompt })),
  key: await name(new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 }).models.list()),
}));
