// Runs a model with onnxruntime-web in Node.js, for the proof of a page: node proof.mjs SCRIPT WASM MODEL
// A line of JSON in, {images, shape, logits}: the paths of uint8 images and of the float32 logits to write. "done" out.

import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [script, wasm, model] = process.argv.slice(2);
const ort = await import(pathToFileURL(script));
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = readFileSync(wasm);
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
for await (const line of createInterface({ input: process.stdin })) {
  const { images, shape, logits } = JSON.parse(line);
  const given = new ort.Tensor("uint8", new Uint8Array(readFileSync(images)), shape);
  const { data } = (await session.run({ images: given })).logits;
  writeFileSync(logits, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  console.log("done");
}
process.exit(0);
