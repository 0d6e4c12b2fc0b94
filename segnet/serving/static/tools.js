// Painting, zooming and comparing with a pointer or the keyboard. `page` is the object of page.js.

import { pixelAt } from "./view.js";

const at = (id) => document.getElementById(id);
const MOST_ZOOM = 32;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const tool = () => document.querySelector("input[name=tool]:checked").value;

let zoom = 1;
let last = null; // the previous point of the stroke in progress
let dragged = null; // where a drag began that moves the image: {x, y, left, top}
let cursor = null; // the pixel of the keyboard

/** Diameter of the brush [pixels of the image]: the slider is logarithmic, up to a quarter of the image. */
export function brushSize(page) {
  const most = page.shown ? Math.max(8, Math.max(page.shown.editor.width, page.shown.editor.height) / 4) : 8;
  return Math.max(1, Math.round(Math.exp((Math.log(most) * at("size").value) / 100)));
}

export function setZoom(wanted, event) {
  const ground = at("ground"), before = at("frame").getBoundingClientRect();
  const place = event ?? middle(ground);
  const x = (place.clientX - before.left) / before.width, y = (place.clientY - before.top) / before.height;
  zoom = Math.min(MOST_ZOOM, Math.max(1, wanted));
  at("frame").style.setProperty("--zoom", zoom);
  at("zoomed").textContent = `${Math.round(100 * zoom)}%`;
  at("out").disabled = zoom <= 1;
  at("in").disabled = zoom >= MOST_ZOOM;
  const after = at("frame").getBoundingClientRect();
  ground.scrollLeft += after.left + x * after.width - place.clientX; // the pixel under the pointer stays there
  ground.scrollTop += after.top + y * after.height - place.clientY;
}

function middle(element) {
  const box = element.getBoundingClientRect();
  return { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
}

/** Apply the tool between two points of the image. */
function apply(page, from, to) {
  const { editor } = page.shown, id = tool() === "erase" ? null : Number(at("with").value);
  if (id !== null) page.reveal(id);
  page.repaint(tool() === "fill" ? editor.fill(to, id) : editor.stroke(from, to, brushSize(page), id));
}

function follow(page, event) {
  const point = page.shown && pixelAt(event, page.shown.editor);
  page.point(point ?? null);
  ring(page, tool() === "paint" || tool() === "erase" ? point : null);
}

/** Show the outline of the brush around a pixel. */
function ring(page, point) {
  at("ring").hidden = !point;
  if (!point) return;
  const { width, height } = page.shown.editor, size = brushSize(page), { style } = at("ring");
  style.left = `${(100 * (Math.floor(point.x) + 0.5)) / width}%`;
  style.top = `${(100 * (Math.floor(point.y) + 0.5)) / height}%`;
  style.width = `${(100 * size) / width}%`;
  style.height = `${(100 * size) / height}%`;
}

function press(page, event) {
  if (!page.shown || event.button > 0 || event.target === at("divider")) return;
  const point = pixelAt(event, page.shown.editor);
  if (!point) return;
  if (event.altKey) return page.pick(point);
  if (tool() === "look") {
    const { scrollLeft: left, scrollTop: top } = at("ground");
    if (event.pointerType === "mouse") dragged = { x: event.clientX, y: event.clientY, left, top };
  } else {
    event.preventDefault();
    at("frame").focus({ preventScroll: true });
    last = point;
    apply(page, point, point);
  }
  if (last || dragged) at("frame").setPointerCapture(event.pointerId);
}

function move(page, event) {
  follow(page, event);
  if (dragged) {
    at("ground").scrollLeft = dragged.left + dragged.x - event.clientX;
    at("ground").scrollTop = dragged.top + dragged.y - event.clientY;
  }
  if (!last || tool() === "fill") return;
  const box = at("frame").getBoundingClientRect(), { width, height } = page.shown.editor;
  for (const one of event.getCoalescedEvents?.() ?? [event]) {
    const point = { // also outside of the image: a stroke may leave it and come back
      x: ((one.clientX - box.left) / box.width) * width, y: ((one.clientY - box.top) / box.height) * height,
    };
    apply(page, last, point);
    last = point;
  }
}

function release(page, event) {
  dragged = null;
  if (!last) return;
  last = null;
  page.endStep();
  follow(page, event); // the pixel under the pointer has another class now
}

/** Arrow keys move a cursor, space and Enter apply the tool there. */
function pressKey(page, event) {
  if (!page.shown || event.ctrlKey || event.metaKey || event.altKey) return;
  const { width, height } = page.shown.editor, arrow = ARROWS[event.key];
  cursor ??= { x: Math.floor(width / 2), y: Math.floor(height / 2) };
  if (arrow) {
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(brushSize(page) / 2));
    cursor = {
      x: Math.min(width - 1, Math.max(0, Math.min(cursor.x, width - 1) + step * arrow[0])),
      y: Math.min(height - 1, Math.max(0, Math.min(cursor.y, height - 1) + step * arrow[1])),
    };
  } else if (event.key === " " || event.key === "Enter") {
    if (tool() !== "look") {
      apply(page, cursor, cursor);
      page.endStep();
    }
  } else return;
  event.preventDefault();
  page.point(cursor, true);
  ring(page, cursor);
}

/** Connect the frame, its line of comparison and the zoom with the page. */
export function connectTools(page) {
  const frame = at("frame"), ground = at("ground");
  frame.addEventListener("pointerdown", (event) => press(page, event));
  frame.addEventListener("pointermove", (event) => move(page, event));
  for (const kind of ["pointerup", "pointercancel"]) frame.addEventListener(kind, (event) => release(page, event));
  frame.addEventListener("pointerleave", () => {
    page.point(null);
    if (!last) at("ring").hidden = true;
  });
  frame.addEventListener("keydown", (event) => pressKey(page, event));
  frame.addEventListener("blur", () => (at("ring").hidden = true));
  ground.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    setZoom(zoom * Math.exp(-event.deltaY / 200), event);
  }, { passive: false });
  at("in").addEventListener("click", () => setZoom(zoom * 1.5));
  at("out").addEventListener("click", () => setZoom(zoom / 1.5));
  at("zoomed").addEventListener("click", () => setZoom(1));
  at("divider").addEventListener("pointerdown", (event) => {
    event.preventDefault();
    at("divider").setPointerCapture(event.pointerId);
  });
  at("divider").addEventListener("pointermove", (event) => {
    if (!at("divider").hasPointerCapture(event.pointerId)) return;
    const box = frame.getBoundingClientRect();
    at("split").value = (100 * (event.clientX - box.left)) / box.width;
    at("split").dispatchEvent(new Event("input"));
  });
}

const TOOL_KEYS = { v: "look", b: "paint", e: "erase", f: "fill" };
const VIEW_KEYS = { 1: "overlay", 2: "image", 3: "mask", 4: "confidence" };

/** Keys that work everywhere except in fields that take text or a choice. */
export function connectKeys(page) {
  document.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase(), changes = event.ctrlKey || event.metaKey;
    if (event.target.matches?.("select, input[type=text], input[type=number]")) return; // the field has these keys
    if (changes && (key === "z" || key === "y")) {
      event.preventDefault();
      return key === "y" || event.shiftKey ? page.redo() : page.undo();
    }
    if (changes || event.altKey) return;
    if (TOOL_KEYS[key] && document.body.dataset.task !== "multilabel") choose("tool", TOOL_KEYS[key]);
    else if (VIEW_KEYS[key]) choose("view", VIEW_KEYS[key]);
    else if (key === "c") page.compare();
    else if (key === "[" || key === "]") {
      at("size").value = Number(at("size").value) + (key === "]" ? 5 : -5);
      at("size").dispatchEvent(new Event("input"));
    } else if (key === "+" || key === "=") setZoom(zoom * 1.5);
    else if (key === "-") setZoom(zoom / 1.5);
    else if (key === "0") setZoom(1);
    else if (key === "n" || key === "p") page.step(key === "n" ? 1 : -1);
    else if (key === "s" && !at("save").disabled && !at("saving").hidden) at("save").click();
    else return;
    event.preventDefault();
  });
}

function choose(name, value) {
  const input = document.querySelector(`input[name=${name}][value=${value}]`);
  if (input.disabled) return;
  input.checked = true;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
