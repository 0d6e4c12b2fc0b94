// The legend: the classes with their shares of the image, and which of them are visible. Class names are text, never markup.

import { pixelsOf } from "./overlap.js";
import { element } from "./view.js";

const at = (id) => document.getElementById(id);
let onToggle; // called after the visible classes changed

export const hidden = new Set(); // ids of classes, kept from one image to the next

/**
 * @param ids of all classes and of ignored pixels
 * @param changed called after the visible classes changed
 */
export function connectLegend(ids, changed) {
  onToggle = changed;
  at("all").addEventListener("click", () => toggleAll(ids, true));
  at("none").addEventListener("click", () => toggleAll(ids, false));
}

function toggle(ids, visible) {
  for (const id of ids) {
    if (visible) hidden.delete(id);
    else hidden.add(id);
  }
  onToggle();
}

function toggleAll(ids, visible) {
  for (const box of at("classes").querySelectorAll("input")) box.checked = visible;
  toggle(ids, visible);
}

/** A class that is painted must be visible. */
export function reveal(id) {
  if (!hidden.has(id)) return;
  toggle([id], true);
  const box = at("classes").querySelector(`input[value="${id}"]`);
  if (box) box.checked = true;
}

/** The pixels of each class, of ignored ones, and of those that were ignored by hand. */
export function countPixels({ ids, painted }, ignored, combinations) {
  const byId = new Uint32Array(Math.max(65536, combinations?.length ?? 0));
  let ignoredByHand = 0;
  for (let index = 0; index < ids.length; index++) {
    byId[ids[index]]++;
    if (painted[index] && ids[index] === ignored) ignoredByHand++;
  }
  const all = combinations ? pixelsOf(combinations, byId) : byId;
  return { all, ignored: all[ignored], ignoredByHand };
}

/** List the classes and the ignored pixels with their shares. */
export function listShares({ classes, ignore_index: ignored }, counts, numPixels) {
  const entries = classes.map((one) => ({ ...one, share: counts.all[one.id] / numPixels }));
  const share = counts.ignored / numPixels;
  if (share) entries.push({ id: ignored, name: "ignored", isIgnored: true, share });
  listClasses(entries);
}

/** List the classes, the largest share first; without an image in their own order. */
export function listClasses(classes) {
  const list = at("classes");
  const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
  const rows = classes.map((entry) => {
    const box = element("input", { type: "checkbox", checked: !hidden.has(entry.id), value: entry.id });
    box.addEventListener("change", () => toggle([entry.id], box.checked));
    const swatch = element("span", { className: entry.isIgnored ? "swatch ignored" : "swatch" });
    if (!entry.isIgnored) swatch.style.background = `rgb(${entry.color})`;
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
  if (focused !== null) list.querySelector(`input[value="${focused}"]`)?.focus();
}

/** 0.1234 -> "12.3%"; a class that occurs never shows as 0.0%, and one that does not fill the image not as 100.0%. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  return share < 1 && share >= 0.9995 ? ">99.9%" : `${(100 * share).toFixed(1)}%`;
}
