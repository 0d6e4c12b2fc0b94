// The layers of the image: image, classes, confidence.

const LONGEST = 4096; // side of a canvas [pixels]: phones refuse larger ones
const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis: 0, 25, ..., 100%
const LAYERS = {
  overlay: (opacity) => ({ image: 1, overlay: opacity, heat: 0 }),
  image: () => ({ image: 1, overlay: 0, heat: 0 }),
  mask: () => ({ image: 0, overlay: 1, heat: 0 }),
  confidence: () => ({ image: 0, overlay: 0, heat: 1 }),
};

const at = (id) => document.getElementById(id);

/** Show a view, or two of them left and right of a line. */
function showLayers(view, other, opacity, split) {
  const left = LAYERS[view](opacity), right = LAYERS[other || view](opacity);
  for (const id of ["image", "overlay", "heat"]) {
    const { style } = at(id);
    style.opacity = left[id] === right[id] ? left[id] : 1;
    const sides = `rgb(0 0 0/${left[id]}) ${split}%, rgb(0 0 0/${right[id]}) ${split}%`;
    style.maskImage = left[id] === right[id] ? "none" : `linear-gradient(to right, ${sides})`;
  }
}

/** Show the views that the fields name. */
function setLayers() {
  const other = at("compared").value, percent = `${at("opacity").value}%`;
  const view = document.querySelector("input[name=view]:checked").value;
  showLayers(view, other, at("opacity").value / 100, at("split").value);
  at("percent").textContent = percent;
  at("opacity").setAttribute("aria-valuetext", percent);
  at("divider").hidden = at("split").hidden = !other;
  at("divider").style.left = `${at("split").value}%`;
  at("scale").hidden = view !== "confidence" && other !== "confidence";
}

/** Show an image's confidence, or disable that view; the shown views may change. */
export function setConfidence(confidence, editor) {
  const view = document.querySelector("input[name=view][value=confidence]");
  view.disabled = at("compared").querySelector("[value=confidence]").disabled = !confidence;
  view.parentElement.title = confidence ? "" : "Too large: the probabilities of all classes would not fit into memory";
  if (!confidence && view.checked) document.querySelector("input[name=view][value=overlay]").checked = true;
  if (!confidence && at("compared").value === "confidence") at("compared").value = "";
  if (confidence) drawIds(at("heat"), editor, heatColors(confidence));
  setLayers();
}

/** Compare with the image, or end the comparison. */
export function compare() {
  at("compared").value = at("compared").value ? "" : "image";
  setLayers();
}

export function connectLayers() {
  for (const id of ["opacity", "split", "compared"]) at(id).addEventListener("input", setLayers);
  document.addEventListener("change", ({ target }) => target.name === "view" && setLayers());
  setLayers();
}

/**
 * Draw class ids, in an area or everywhere; the canvas has its own opacity.
 * @param colorAt the color of an id at x, y, as an integer of a canvas's bytes; 0: nothing
 */
export function drawIds(canvas, { width, height }, colorAt, area) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  if (!area) {
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
  }
  const all = area ?? { left: 0, top: 0, right: width, bottom: height };
  const left = Math.max(0, Math.floor((all.left * canvas.width) / width) - 1);
  const top = Math.max(0, Math.floor((all.top * canvas.height) / height) - 1);
  const right = Math.min(canvas.width, Math.ceil((all.right * canvas.width) / width) + 1);
  const bottom = Math.min(canvas.height, Math.ceil((all.bottom * canvas.height) / height) + 1);
  if (right <= left || bottom <= top) return;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(right - left, bottom - top);
  const target = new Uint32Array(pixels.data.buffer);
  const columns = Array.from({ length: right - left }, (_, x) => Math.floor(((left + x + 0.5) * width) / canvas.width));
  for (let y = top, to = 0; y < bottom; y++) {
    const row = Math.floor(((y + 0.5) * height) / canvas.height);
    for (const x of columns) target[to++] = colorAt(row * width + x, x, row);
  }
  context.putImageData(pixels, left, top);
}

/** A function for `drawIds`: visible classes in their colors, ignored pixels as a checkerboard. */
export function classColors(editor, classes, ignored, hidden, paintedOnly) {
  const table = new Uint32Array(65536).fill(0xffffffff); // unknown ids are white
  for (const { id, color } of classes) table[id] = hidden.has(id) ? 0 : packed(color);
  const squares = hidden.has(ignored) ? [0, 0] : [0xffffffff, 0xff404040];
  return (index, x, y) => {
    if (paintedOnly && !editor.painted[index]) return 0;
    const id = editor.ids[index];
    return id === ignored ? squares[((x >> 2) + (y >> 2)) & 1] : table[id];
  };
}

/** A function for `drawIds`: the confidence from dark blue (0) to yellow (1). */
function heatColors(confidence) {
  const table = Uint32Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(place));
    return packed(HEAT[low].map((start, band) => Math.round(start + (place - low) * (HEAT[low + 1][band] - start))));
  });
  return (index) => table[confidence[index]];
}

export function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** The pixel under a pointer, with fractions; null outside of the image. */
export function pixelAt(event, { width, height }) {
  const box = at("frame").getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * width;
  const y = ((event.clientY - box.top) / box.height) * height;
  return x < 0 || y < 0 || x >= width || y >= height ? null : { x, y };
}

/** Text about a pixel: its class or classes, and what the model predicted with which confidence. */
export function describePixel({ x, y }, { editor, confidence }, nameOf) {
  const index = Math.floor(y) * editor.width + Math.floor(x);
  const sure = confidence ? ` ${Math.round((100 * confidence[index]) / 255)}%` : "";
  const place = `at ${Math.floor(x)}, ${Math.floor(y)}`;
  const name = nameOf(editor.ids[index]);
  if (!editor.painted[index]) return `${name}${sure} ${place}`;
  return `${name}, painted (predicted: ${nameOf(editor.predicted[index])}${sure}) ${place}`;
}

export function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
