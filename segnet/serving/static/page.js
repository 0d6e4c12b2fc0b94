// One image at a time: dropped, pasted or chosen, sent to POST /predict, and shown with the answer.

import { classAt, drawOverlay, listClasses } from "./view.js";

const at = (id) => document.getElementById(id);
const hidden = new Set(); // ids of classes, kept from one image to the next
let model; // the answer of GET /model
let shown; // {file, stem, classes, mask: {width, height, ids}, png}: the image on the page
let asking = new AbortController(); // cancels the request in progress when a newer image arrives

async function start() {
  model = await answer(fetch("model")).then((response) => response.json());
  const megabytes = model.limits.bytes / 1e6, megapixels = model.limits.pixels / 1e6;
  at("model").textContent = `${model.name} · ${model.classes.length} classes`;
  at("limits").textContent = `JPEG, PNG, TIFF, WebP, BMP or GIF, up to ${megabytes} MB and ${megapixels} megapixels`;
  listClasses(at("classes"), model.classes, hidden, toggle);
}

/** The response, or an Error with the server's one line. */
async function answer(request) {
  const response = await request.catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is 'segnet serve' still running?");
  });
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Error(answer.error ?? `The server answered ${response.status}.`);
}

/** Send an image; the server recognizes its format. */
function predict(file, query, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  return answer(fetch(`predict?${query}`, { method: "POST", body: file, headers, signal }));
}

async function segment(file) {
  asking.abort();
  const own = (asking = new AbortController());
  const name = file.name || "pasted image";
  tell(`Segmenting ${name} …`, true);
  complain("");
  try {
    if (model && file.size > model.limits.bytes) {
      throw new Error(`upload: has ${(file.size / 1e6).toFixed(1)} MB, more than ${model.limits.bytes / 1e6}: scale it down`);
    }
    const result = await (await predict(file, "image=true", own.signal)).json();
    const { width, height } = result;
    const png = fromBase64(result.mask);
    const mask = { width, height, ids: await inflate(fromBase64(result.ids), width * height) };
    if (own.signal.aborted) return;
    shown = { file, png, mask, stem: name.replace(/\.[^.]*$/, ""), classes: result.classes };
    await show(result, name);
    tell("");
  } catch (error) {
    if (own.signal.aborted) return; // a newer image is on the page
    tell("");
    complain(named(error.message, name));
  }
}

async function show(result, name) {
  const image = at("image");
  image.src = `data:image/jpeg;base64,${result.image}`;
  image.alt = name;
  await image.decode();
  at("frame").style.setProperty("--ratio", result.width / result.height);
  at("facts").textContent = `${name} · ${result.width} × ${result.height} · ${result.seconds.toFixed(2)} s`;
  at("pointed").textContent = "";
  at("drop").hidden = true;
  at("view").hidden = at("another").hidden = false;
  document.body.classList.add("shown");
  for (const id of ["opacity", "mask", "polygons"]) at(id).disabled = false;
  draw();
  listClasses(at("classes"), shown.classes, hidden, toggle);
}

function draw() {
  if (!shown) return;
  drawOverlay(at("overlay"), shown.mask, shown.classes, hidden);
  const seen = shown.classes.filter((entry) => entry.share && !hidden.has(entry.id)).map((entry) => entry.name);
  at("overlay").setAttribute("aria-label", `Classes shown: ${seen.join(", ") || "none"}`);
}

function toggle(ids, visible) {
  for (const id of ids) {
    if (visible) hidden.delete(id);
    else hidden.add(id);
  }
  draw();
}

function toggleAll(visible) {
  for (const box of at("classes").querySelectorAll("input")) box.checked = visible;
  toggle(model.classes.map((entry) => entry.id), visible);
}

function setOpacity() {
  const text = `${at("opacity").value}%`;
  at("overlay").style.opacity = at("opacity").value / 100;
  at("percent").textContent = text;
  at("opacity").setAttribute("aria-valuetext", text);
}

async function savePolygons() {
  const { file, stem } = shown;
  at("polygons").disabled = true;
  tell("Drawing polygons …", true);
  complain("");
  try {
    save(await (await predict(file, "output=polygons")).blob(), `${stem}.geojson`);
  } catch (error) {
    complain(named(error.message, file.name));
  }
  at("polygons").disabled = false;
  tell("");
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function fromBase64(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

/** The mask's class ids: a byte for each pixel, or two. A canvas would give a PNG's colors instead. */
async function inflate(deflated, pixels) {
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const ids = await new Response(stream).arrayBuffer();
  return ids.byteLength > pixels ? new Uint16Array(ids) : new Uint8Array(ids);
}

/** The server knows an uploaded file by no name. */
function named(message, name) {
  return message.replace(/^upload(\.tif)?(?=:)/, name);
}

function tell(text, busy = false) {
  at("status").textContent = text;
  document.body.classList.toggle("busy", busy);
}

function complain(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

/** Takes the first file of what was dropped, pasted or chosen. */
function take(files, otherwise) {
  if (files.length) segment(files[0]);
  else if (otherwise) complain(otherwise);
}

at("file").addEventListener("change", () => {
  take(at("file").files);
  at("file").value = ""; // the same file can be chosen again
});
document.addEventListener("paste", (event) => take(event.clipboardData.files, "The clipboard holds no image: copy one, or its file."));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files, "This is no file: save the image first, then drop it.");
});
at("opacity").addEventListener("input", setOpacity);
at("all").addEventListener("click", () => toggleAll(true));
at("none").addEventListener("click", () => toggleAll(false));
at("mask").addEventListener("click", () => save(new Blob([shown.png], { type: "image/png" }), `${shown.stem}_mask.png`));
at("polygons").addEventListener("click", savePolygons);
for (const kind of ["pointermove", "pointerdown"]) {
  at("frame").addEventListener(kind, (event) => {
    at("pointed").textContent = classAt(event, shown.mask, shown.classes);
  });
}
at("frame").addEventListener("pointerleave", () => (at("pointed").textContent = ""));

setOpacity();
start().catch((error) => complain(error.message));
