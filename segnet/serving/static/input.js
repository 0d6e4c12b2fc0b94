// How images come onto the page, and the lines that answer.

import { element } from "./view.js";

const at = (id) => document.getElementById(id);

const REFINEMENT = ["threshold", "refuse", "min_area"]; // ids of fields, and names of parameters of POST /predict

/** Show the options of the server in the empty fields of refinement. */
export function showRefinement(options) {
  const short = (value) => Number(value.toFixed(3));
  const text = (value) => Object.entries(value).map(([name, one]) => (name ? `${name}=${short(one)}` : one)).join(",");
  for (const name of REFINEMENT) {
    const value = options[name];
    if (value) at(name).placeholder = typeof value === "object" ? text(value) : value;
  }
}

/** The filled fields of refinement as parameters; the server has values for the others. */
export function readRefinement() {
  const filled = REFINEMENT.filter((name) => at(name).value.trim());
  return new URLSearchParams(filled.map((name) => [name, at(name).value.trim()]));
}

/** The status over the image. */
export function tell(text, busy = false) {
  at("status").textContent = text;
  document.body.classList.toggle("busy", busy);
}

/** Show an error, with a button for its way out. */
export function complain(text, way, act) {
  at("error").hidden = !text;
  at("error").replaceChildren(text);
  if (!text || !way) return;
  const button = element("button", { type: "button", textContent: way });
  button.addEventListener("click", () => {
    complain("");
    act();
  });
  at("error").append(" ", button);
}

/** Call `take(files, otherwise)` with files that are dropped, pasted or chosen. */
export function connectFiles(take) {
  at("file").addEventListener("change", () => {
    take([...at("file").files]);
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
}
