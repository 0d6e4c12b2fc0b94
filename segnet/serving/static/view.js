// The image under its classes, and the legend. Class names are text, never markup.

const LONGEST = 2048; // side of the canvas [pixels]: phones refuse larger ones
const at = (id) => document.getElementById(id);

/** Draw the classes that are not hidden; the canvas has its own opacity. */
export function drawOverlay(canvas, { width, height, ids }, classes, hidden) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const table = new Uint32Array(65536).fill(0xffffffff); // unknown ids are white
  for (const { id, color: [red, green, blue] } of classes) {
    table[id] = hidden.has(id) ? 0 : ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  const target = new Uint32Array(pixels.data.buffer);
  for (let y = 0, to = 0; y < canvas.height; y++) {
    const row = Math.floor(((y + 0.5) * height) / canvas.height) * width;
    for (let x = 0; x < canvas.width; x++, to++) {
      target[to] = table[ids[row + Math.floor(((x + 0.5) * width) / canvas.width)]];
    }
  }
  context.putImageData(pixels, 0, 0);
}

/** List the classes, the largest share first; without an image in their own order. */
export function listClasses(list, classes, hidden, onToggle) {
  const rows = classes.map((entry) => {
    const box = element("input", { type: "checkbox", checked: !hidden.has(entry.id) });
    box.addEventListener("change", () => onToggle([entry.id], box.checked));
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = `rgb(${entry.color})`;
    const label = element("label", {}, box, swatch, element("span", { className: "name", textContent: entry.name }));
    if (entry.share !== undefined) {
      label.append(element("span", { className: "share", textContent: percent(entry.share) }));
      const fill = element("i", {});
      fill.style.width = `${100 * entry.share}%`;
      label.append(element("span", { className: "bar" }, fill));
      label.classList.toggle("absent", entry.share === 0);
    }
    return { share: entry.share ?? 0, item: element("li", {}, label) };
  });
  rows.sort((a, b) => b.share - a.share);
  list.replaceChildren(...rows.map(({ item }) => item));
}

/** 0.1234 -> "12.3%"; a class that occurs never shows as 0.0%. */
export function percent(share) {
  return share > 0 && share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;
}

/** The class under a pointer. */
export function classAt(event, { width, height, ids }, classes) {
  const box = at("frame").getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  if (x < 0 || y < 0 || x >= width || y >= height) return "";
  return `${classes[ids[y * width + x]]?.name ?? "no class"} at ${x}, ${y}`;
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
