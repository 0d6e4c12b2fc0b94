// The page: its state, and what happens on each action. One image is shown; images.js has all of them.

import { answer } from "./server.js";
import { close, Images, open } from "./images.js";
import { complain, connectFiles, showRefinement, tell } from "./input.js";
import { countPixels, connectLegend, hidden, listClasses, listShares, reveal } from "./legend.js";
import { overlapColors } from "./overlap.js";
import { saveCorrected, saveMask, saveOverlay, savePlanes, savePolygons, showSaving } from "./save.js";
import { brushSize, connectKeys, connectTools, setZoom, tool } from "./tools.js";
import { classColors, compare, connectLayers, describePixel, drawIds, element, packed, setConfidence } from "./view.js";

const at = (id) => document.getElementById(id);
let model; // the answer of GET /model
let images; // the list
let wanted = null; // the entry to show as soon as it is segmented
let turn = Promise.resolve(); // images are opened and closed one after another
let counts = null; // pixels of the shown image: {all: by class, ignored, ignoredByHand}

const page = { shown: null, repaint, endStep, point, pick, reveal, undo, redo, compare, step }; // for tools.js

/** The name of an id; with several classes per pixel, of its combination. */
function nameOf(id) {
  const { combinations } = page.shown.entry;
  if (combinations) return combinations[id].map((one) => model.classes[one].name).join(" + ") || "no class";
  return id === model.ignore_index ? "ignored" : model.classes[id]?.name ?? "no class";
}

async function start() {
  model = await answer(fetch("model")).then((response) => response.json());
  const megabytes = model.limits.bytes / 1e6, megapixels = model.limits.pixels / 1e6;
  const several = model.task === "multilabel";
  document.body.dataset.task = model.task;
  at("model").textContent = `${model.name} · ${model.classes.length} ${several ? "overlapping " : ""}classes`;
  if (several) at("mask").querySelector("small").textContent = "TIFF";
  if (several) at("mask").title = "A page per class";
  if (several) at("refining").querySelector("summary").textContent = "Thresholds";
  at("limits").textContent = `JPEG, PNG, TIFF, WebP, BMP or GIF, up to ${megabytes} MB and ${megapixels} megapixels`;
  images = new Images(at("images"), model.limits, { onChange: changed, onSelect: select, onRemove: removed });
  at("with").append(...model.classes.map(({ id, name }) => element("option", { value: id, textContent: name })));
  at("with").append(element("option", { value: model.ignore_index, textContent: "ignored (no label)" }));
  showRefinement(model.refinement);
  at("saving").hidden = !model.collects;
  if (model.collects) at("fate").textContent += " Only what you save for training is kept.";
  connectLegend([...model.classes.map(({ id }) => id), model.ignore_index], () => draw());
  listClasses(model.classes);
}

/** Takes what was dropped, pasted or chosen. */
function take(files, otherwise) {
  if (!files.length) return otherwise && complain(otherwise);
  if (!images) return;
  complain("");
  select(images.add([...files])[0]);
}

function select(entry) {
  wanted = entry;
  images.mark(entry);
  complain("");
  if (entry.state === "failed") complainOf(entry);
  if (entry.state === "done") show(entry);
  else tellProgress();
}

/** The state of an entry has changed. */
function changed(entry) {
  tellProgress();
  if (entry.state === "failed") {
    complainOf(entry);
    if (entry === wanted && page.shown) images.mark((wanted = page.shown.entry));
    else if (entry === wanted) followOn();
  }
  if (entry.state === "done" && entry === wanted) show(entry);
}

function complainOf(entry) {
  complain(entry.error, entry.mayWork && "Try again", () => {
    images.retry(entry);
    select(entry);
  });
}

/** Show the first image that can be shown. */
function followOn() {
  const next = images.entries.find(({ state }) => state !== "failed");
  wanted = next ?? null;
  if (next?.state === "done") show(next);
}

function tellProgress() {
  const busy = images.entries.find(({ state }) => state === "busy");
  const waiting = images.entries.filter(({ state }) => state === "waiting").length;
  tell(busy ? `Segmenting ${busy.name} …${waiting ? ` ${waiting} more` : ""}` : "", Boolean(busy) && busy === wanted);
}

function removed(entry) {
  tellProgress();
  if (page.shown?.entry === entry || wanted === entry) {
    const next = images.entries.find(({ state }) => state === "done") ?? images.entries[0];
    if (next) return select(next);
    wanted = null;
    turn = turn.then(hide);
  }
}

function show(entry) {
  turn = turn.then(async () => {
    if (entry !== wanted || page.shown?.entry === entry) return;
    if (page.shown) await leave();
    const opened = await open(entry);
    at("image").src = opened.image;
    at("image").alt = entry.name;
    await at("image").decode();
    page.shown = opened;
    present(opened);
  }).catch((error) => complain(error.message));
}

async function leave() {
  const left = page.shown;
  page.shown = null;
  await close(left);
  images.label(left.entry);
}

async function hide() {
  if (page.shown) await leave();
  document.body.classList.remove("shown");
  at("drop").hidden = false;
  for (const id of ["view", "another", "tools", "bar"]) at(id).hidden = true;
  for (const id of ["opacity", "mask", "overlaid", "polygons", "save", "again"]) at(id).disabled = true;
  listClasses(model.classes);
}

function present({ entry, editor, confidence }) {
  at("view").style.setProperty("--ratio", editor.width / editor.height);
  const size = `${editor.width} × ${editor.height}`, options = [...entry.refinement].map(([name, value]) => `${name}=${value}`);
  at("facts").textContent = [entry.name, size, `${entry.seconds.toFixed(2)} s`, ...options].join(" · ");
  at("drop").hidden = true;
  for (const id of ["view", "another", "tools", "bar"]) at(id).hidden = false;
  document.body.classList.add("shown");
  for (const id of ["opacity", "mask", "overlaid", "again"]) at(id).disabled = false;
  images.mark(entry);
  setZoom(1);
  setConfidence(confidence, editor);
  setSize();
  count();
  draw();
}

function colors() {
  const { editor, entry } = page.shown, { classes } = model;
  if (entry.combinations) return overlapColors(editor, classes, entry.combinations, hidden, packed);
  return classColors(editor, classes, model.ignore_index, hidden, at("only").checked);
}

function draw(area) {
  if (!page.shown) return;
  drawIds(at("overlay"), page.shown.editor, colors(), area);
  if (!area) describe();
}

/** Name the visible classes for screen readers. */
function describe() {
  const seen = model.classes.filter(({ id }) => counts.all[id] && !hidden.has(id)).map(({ name }) => name);
  at("overlay").setAttribute("aria-label", `Classes shown: ${seen.join(", ") || "none"}`);
}

/** Draw a changed area; null: nothing has changed. */
function repaint(area) {
  if (area) draw(area);
}

/** A step of painting has ended. */
function endStep() {
  page.shown.editor.end();
  count();
}

/** Count the pixels of each class, and show all that depends on it. */
function count() {
  const { editor, entry } = page.shown;
  counts = countPixels(editor, model.ignore_index, entry.combinations);
  describe();
  listShares(model, counts, editor.ids.length);
  at("undo").disabled = !editor.done.length;
  at("redo").disabled = !editor.undone.length;
  at("reset").disabled = !editor.numPainted;
  at("polygons").disabled = editor.numPainted > 0;
  at("polygons").title = editor.numPainted ? "Polygons are those of the prediction: undo the corrections first" : "";
  showSaving(page.shown, model.ignore_index, counts);
  images.label(entry);
}

function undo() {
  change((editor) => editor.undo());
}

function redo() {
  change((editor) => editor.redo());
}

function change(work) {
  if (!page.shown) return;
  repaint(work(page.shown.editor));
  count();
}

function setSize() {
  at("pixels").textContent = `${brushSize(page)} px`;
  at("size").setAttribute("aria-valuetext", `${brushSize(page)} pixels`);
}

function setTool() {
  document.body.dataset.tool = tool();
  at("ring").hidden = true;
}

/** Tell what is at a pixel; `aloud` for screen readers. */
function point(pixel, aloud = false) {
  const text = pixel ? describePixel(pixel, page.shown, nameOf) : "";
  at("pointed").textContent = text;
  if (aloud) at("spoken").textContent = text;
}

/** Paint with the class at a pixel. */
function pick(pixel) {
  if (page.shown.entry.combinations) return;
  const { ids, width } = page.shown.editor;
  at("with").value = ids[Math.floor(pixel.y) * width + Math.floor(pixel.x)];
}

function step(by) {
  const next = wanted && images.neighbor(wanted, by);
  if (next) select(next);
}

/** Run what a button does: it is disabled meanwhile, and an error is shown. */
async function run(button, text, work) {
  if (!page.shown) return;
  const { entry } = page.shown;
  button.disabled = true;
  tell(text, true);
  complain("");
  try {
    await work(page.shown);
  } catch (error) {
    complain(error.message.replace(/^(upload(\.tif)?|mask\.png)(?=:)/, entry.name));
    const replace = /replace=(\S+) replaces/.exec(error.message)?.[1];
    if (error.status === 409 && replace) {
      complain(`${entry.name}: is in the folder already, as ${replace}.`, "Replace its mask", () => store(replace));
    }
  }
  button.disabled = false;
  tellProgress();
  if (page.shown) count();
}

function store(replace) {
  const keeps = at("predicted").checked;
  return run(at("save"), "Saving …", async (shown) => {
    const saved = await saveCorrected(shown, model.classes, model.ignore_index, keeps, replace);
    images.label(shown.entry);
    at("collected").textContent = `${saved.count} ${saved.count === 1 ? "mask" : "masks"} in the folder`;
  });
}

at("size").addEventListener("input", setSize);
at("only").addEventListener("change", () => draw());
for (const id of ["ignored", "predicted"]) at(id).addEventListener("change", () => page.shown && count());
document.addEventListener("change", ({ target }) => target.name === "tool" && setTool());
at("again").addEventListener("click", () => page.shown && take([page.shown.entry.file])); // corrections of both stay
at("undo").addEventListener("click", undo);
at("redo").addEventListener("click", redo);
at("reset").addEventListener("click", () => change((editor) => editor.reset()));
const writeMask = (shown) => (shown.entry.combinations ? savePlanes(shown) : saveMask(shown, model.classes));
at("mask").addEventListener("click", () => run(at("mask"), "Writing the mask …", writeMask));
at("overlaid").addEventListener("click", () => run(at("overlaid"), "Drawing the overlay …", (shown) => saveOverlay(shown, colors(), at("opacity").value / 100)));
at("polygons").addEventListener("click", () => run(at("polygons"), "Drawing polygons …", savePolygons));
at("save").addEventListener("click", () => store(page.shown?.entry.saved?.name));
window.addEventListener("beforeunload", (event) => {
  const unsaved = ({ editor, edits, version, saved }) =>
    (editor ? editor.numPainted : edits) && saved?.version !== (editor?.version ?? version);
  if (images?.entries.some(unsaved)) event.preventDefault();
});
connectFiles(take);
connectTools(page);
connectKeys(page);
connectLayers();
setTool();
start().catch((error) => complain(error.message));
