// The page: an image in, its classes over it, and the mask as a file.

import { embedded, load } from "./parts.js";
import { encodeMask } from "./png.js";

const NAMES = { webgpu: "WebGPU", wasm: "WebAssembly" };
const UNUSABLE = "The model cannot be used";
const LEAST_SIDE = 256; // smallest window to try after a failure [pixels]
const at = (id) => document.getElementById(id);
const record = JSON.parse(at("record").textContent);
const { names, palette } = record.metadata.classes;

let model, example; // of load and of readExample
let engine = null; // {worker, provider}
const engines = {}; // {script, wasm} by provider
let shown = null; // {name, width, height, rgba, ids}
let number = 0; // of the newest image
let turn = start(); // one image after another, once the model is loaded

async function start() {
  listClasses();
  wire();
  state("Loading the model", true);
  try {
    if (!pixelsAreKept()) {
      throw new Error(
        "this browser changes the pixels that a page reads, as a protection against tracking: allow this page to read " +
          "canvas data, or use another browser",
      );
    }
    model = await load("model", { type: "application/octet-stream" });
    example = await readExample();
    const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
    engine = await openEngine(adapter ? "webgpu" : "wasm");
    ready();
  } catch (error) {
    fail(error);
  }
}

/** Whether a canvas returns the pixels that it got. */
function pixelsAreKept() {
  const context = Object.assign(document.createElement("canvas"), { width: 16, height: 16 }).getContext("2d");
  const drawn = context.createImageData(16, 16);
  drawn.data.forEach((_, index) => (drawn.data[index] = index % 4 === 3 ? 255 : (index * 37) % 256));
  context.putImageData(drawn, 0, 0);
  return context.getImageData(0, 0, 16, 16).data.every((value, index) => value === drawn.data[index]);
}

async function readExample() {
  const { width, height } = record.example;
  const bytes = new Uint8Array(await (await embedded("example")).arrayBuffer()), pixels = 3 * width * height;
  return { width, height, planes: bytes.slice(0, pixels), ids: new Uint16Array(bytes.slice(pixels).buffer) };
}

/** A worker whose results for the example are those of the checkpoint. */
async function openEngine(provider) {
  const { script, wasm } = record.engines[provider];
  const code = new Blob([at("engine").textContent], { type: "text/javascript" });
  engine?.worker.terminate();
  try {
    engines[provider] ??= { script: await load(`${provider}.mjs`, script), wasm: await load(`${provider}.wasm`, wasm) };
    const worker = new Worker(URL.createObjectURL(code));
    const opened = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.kind === "opened" ? resolve(data) : reject(new Error(data.message)));
      worker.onerror = (event) => reject(new Error(event.message || "the worker cannot start"));
      worker.postMessage({ kind: "open", provider, model, example, ...engines[provider] });
    });
    if (opened.agreement < record.example.least) {
      worker.terminate();
      const percent = `${(100 * opened.agreement).toFixed(2)}%`;
      throw new Error(`${NAMES[provider]} computes other results than the checkpoint: of a test image, ${percent} of the pixels agree`);
    }
    return { worker, provider };
  } catch (error) {
    if (provider === "wasm") throw error;
    console.warn(error.message);
    note(`WebGPU is not used: ${error.message}.`);
    return openEngine("wasm");
  }
}

/** The class ids of an image, in smaller windows or without the GPU if memory runs out. */
async function segment(image, tiling) {
  try {
    return await once(image, tiling);
  } catch (error) {
    if (image.number !== number) throw error;
    if (engine.provider === "webgpu") {
      note(`WebGPU failed (${error.message}): segmented with WebAssembly.`);
      engine = await openEngine("wasm");
      return segment(image, tiling);
    }
    const side = tiling.side === null ? record.tiling.side : Math.floor(tiling.side / 2);
    if (side < LEAST_SIDE || Math.max(image.width, image.height) <= LEAST_SIDE) throw error;
    engine = await openEngine("wasm"); // after out of memory, a worker is unusable
    note(`Segmented in windows of ${side} pixels after a failure (${error.message}): the mask may differ from that of segnet predict.`);
    return segment(image, { ...tiling, side });
  }
}

function once({ number, rgba, width, height }, tiling) {
  const { worker } = engine;
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message || "the worker failed"));
    worker.onmessage = ({ data }) => {
      if (data.number !== number) return;
      if (data.kind === "window") state(`Segmenting: window ${data.done} of ${data.all}`, true);
      else if (data.kind === "done") resolve(data);
      else reject(new Error(data.message));
    };
    worker.postMessage({ kind: "segment", number, rgba, width, height, classes: names.length, tiling });
  });
}

/** Segment a file; an image in progress is given up after its current window. */
function show(file) {
  const own = ++number;
  engine?.worker.postMessage({ kind: "newest", number });
  state("Reading the image", true);
  turn = turn.then(() => {
    if (own !== number) return;
    if (engine) return segmentFile(file, own);
    state(UNUSABLE);
  });
}

async function segmentFile(file, own) {
  at("error").hidden = true;
  note("");
  try {
    const image = await read(file);
    draw(image);
    state("Segmenting", true);
    const { max_pixels: most, side, overlap } = record.tiling;
    const tiling = { side: image.width * image.height > most ? side : null, overlap };
    const { ids, seconds } = await segment({ ...image, number: own }, tiling);
    if (own !== number) return;
    shown = { ...image, ids };
    paint();
    at("facts").textContent = `${image.name} · ${image.width} × ${image.height} · ${seconds.toFixed(1)} s`;
    at("mask").disabled = false;
    ready();
  } catch (error) {
    if (own === number) fail(error);
  }
}

/** The upright pixels of a file, with its stored colors: no color profile is applied, as in segnet predict. */
async function read(file) {
  const name = file.name || "pasted image";
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error(`${name}: this browser cannot read it as an image: convert it to PNG or JPEG`);
  });
  const { width, height } = bitmap;
  const canvas = Object.assign(document.createElement("canvas"), { width, height, id: "image" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let rgba;
  try {
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    rgba = context.getImageData(0, 0, width, height).data;
  } catch {
    throw new Error(`${name}: ${width} × ${height} pixels are too many for this browser: scale it down`);
  }
  if (await isDeep(file)) note("A browser reads 16-bit images with 8 bits. The mask may differ slightly from that of segnet predict.");
  if (isTransparent(rgba)) {
    note("Transparent pixels: a browser does not keep their colors. The mask may differ there from that of segnet predict.");
  }
  return { name, width, height, rgba, canvas };
}

function isTransparent(rgba) {
  for (let index = 3; index < rgba.length; index += 4) if (rgba[index] !== 255) return true;
  return false;
}

/** Whether a file is a PNG with 16 bits per channel. */
async function isDeep(file) {
  const start = new Uint8Array(await file.slice(0, 25).arrayBuffer());
  return start[0] === 0x89 && start[1] === 0x50 && start[24] === 16;
}

function draw({ name, width, height, canvas }) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Image");
  at("image").replaceWith(canvas);
  shown = null;
  at("mask").disabled = true;
  at("drop").hidden = true;
  at("view").hidden = at("another").hidden = false;
  at("frame").style.setProperty("--ratio", width / height);
  Object.assign(at("overlay"), { width, height });
  at("facts").textContent = `${name} · ${width} × ${height}`;
  at("pointed").textContent = "";
  listClasses();
}

function paint() {
  const { width, height, ids } = shown, context = at("overlay").getContext("2d");
  const drawn = context.createImageData(width, height), pixels = new Uint32Array(drawn.data.buffer);
  const bytes = new Uint8Array(4 * palette.length);
  palette.forEach((color, id) => bytes.set([...color, 255], 4 * id));
  const colors = new Uint32Array(bytes.buffer), counts = new Uint32Array(names.length);
  for (let pixel = 0; pixel < ids.length; pixel++) {
    pixels[pixel] = colors[ids[pixel]];
    counts[ids[pixel]]++;
  }
  context.putImageData(drawn, 0, 0);
  listClasses(counts);
}

/** The legend; with the number of pixels of each class, the most frequent one first. */
function listClasses(counts = null) {
  const order = names.map((_, id) => id);
  if (counts) order.sort((a, b) => counts[b] - counts[a]);
  const items = order.map((id) => {
    const swatch = element("span", "swatch"), item = element("li", counts && !counts[id] ? "absent" : "");
    swatch.style.background = `rgb(${palette[id]})`;
    item.append(swatch, element("span", "name", names[id]));
    if (counts) item.append(element("span", "share", `${((100 * counts[id]) / shown.ids.length).toFixed(1)}%`));
    return item;
  });
  at("classes").replaceChildren(...items);
}

function element(tag, className, textContent = "") {
  return Object.assign(document.createElement(tag), { className, textContent });
}

async function download() {
  const png = await encodeMask(shown, palette);
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(png) });
  link.download = `${shown.name.replace(/\.[^.]*$/, "") || shown.name}_mask.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function point(event) {
  const box = at("frame").getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * at("overlay").width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * at("overlay").height);
  const inside = shown && x >= 0 && y >= 0 && x < shown.width && y < shown.height;
  at("pointed").textContent = inside ? `${names[shown.ids[y * shown.width + x]]} at ${x}, ${y}` : "";
}

function wire() {
  at("file").addEventListener("change", () => {
    if (at("file").files.length) show(at("file").files[0]);
    at("file").value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dragging", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
    });
  }
  addEventListener("paste", (event) => event.clipboardData.files.length && show(event.clipboardData.files[0]));
  at("frame").addEventListener("pointermove", point);
  at("frame").addEventListener("pointerleave", () => (at("pointed").textContent = ""));
  at("mask").addEventListener("click", download);
  const fade = () => (at("overlay").style.opacity = at("opacity").value / 100);
  at("opacity").addEventListener("input", fade);
  fade();
}

function ready() {
  state(`Ready: ${record.runtime}, ${NAMES[engine.provider]}`);
}

function state(text, busy = false) {
  at("state").textContent = text;
  document.body.classList.toggle("busy", busy);
}

function note(text) {
  at("note").textContent = text && at("note").textContent ? `${at("note").textContent} ${text}` : text;
}

function fail(error) {
  state(engine ? "Failed" : UNUSABLE);
  at("error").textContent = error.message;
  at("error").hidden = false;
}
