// A worker that runs the model. It gets {kind: "open"} once, {kind: "segment"} for each image, and {kind: "newest"} when another
// image arrives: the one in progress then fails.

import { argmax, segment } from "./windows.js";

let ort, session, newest = 0; // number of the newest image

self.onmessage = async ({ data }) => {
  try {
    if (data.kind === "newest") newest = data.number;
    else if (data.kind === "open") await open(data);
    else await answer(data);
  } catch (error) {
    self.postMessage({ kind: "failed", number: data.number, message: String(error?.message ?? error) });
  }
};

/** Start onnxruntime-web, and report how many pixels of the example have the class that the checkpoint gives them. */
async function open({ provider, script, wasm, model, example }) {
  ort = await import(URL.createObjectURL(script));
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmBinary = await wasm.arrayBuffer();
  session = await ort.InferenceSession.create(new Uint8Array(await model.arrayBuffer()), {
    executionProviders: [provider],
    logSeverityLevel: 3, // errors
  });
  const { width, height, planes, ids } = example, pixels = width * height;
  let same = 0;
  argmax(await logitsOf(planes, width, height), pixels, (pixel, id) => (same += Number(ids[pixel] === id)));
  self.postMessage({ kind: "opened", agreement: same / pixels });
}

async function answer({ number, rgba, width, height, classes, tiling }) {
  newest = Math.max(newest, number);
  const began = performance.now();
  const ids = await segment({ width, height }, classes, tiling, run, async (done, all) => {
    self.postMessage({ kind: "window", number, done, all });
    await new Promise((resume) => setTimeout(resume)); // a newer image may have arrived
    if (number !== newest) throw new Error("a newer image");
  });
  self.postMessage({ kind: "done", number, ids, seconds: (performance.now() - began) / 1000 }, [ids.buffer]);

  function run(top, left, tall, wide) {
    const planes = new Uint8Array(3 * tall * wide), pixels = tall * wide;
    for (let y = 0, to = 0; y < tall; y++) {
      for (let x = 0, from = 4 * ((top + y) * width + left); x < wide; x++, to++, from += 4) {
        for (let channel = 0; channel < 3; channel++) planes[channel * pixels + to] = rgba[from + channel];
      }
    }
    return logitsOf(planes, wide, tall);
  }
}

/** (3, height, width) RGB, uint8 -> logits (classes, height, width). */
async function logitsOf(planes, width, height) {
  const images = new ort.Tensor("uint8", planes, [1, 3, height, width]);
  const { logits } = await session.run({ images });
  const data = await logits.getData(); // from the GPU
  logits.dispose();
  return data;
}
