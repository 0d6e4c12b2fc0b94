// The list of images: one after another is sent to the server, so that a page never takes more than one place of its queue.
// Results stay as packed Blobs, which take few bytes and which browsers may move to disk.

import { readRefinement } from "./input.js";
import { pack } from "./png.js";
import { fromBase64, predict, unpack } from "./server.js";
import { Editor } from "./paint.js";
import { element } from "./view.js";

const THUMB = 96; // longest side of a thumbnail [pixels]
const WORDS = { waiting: "waiting", busy: "segmenting", done: "", failed: "failed" };

/** All images of the page, in the order of their arrival. */
export class Images {
  /**
   * @param limits those of GET /model
   * @param onChange called with an entry whose state changed
   * @param onSelect called with an entry that was clicked
   * @param onRemove called with an entry that was removed
   */
  constructor(list, limits, { onChange, onSelect, onRemove }) {
    Object.assign(this, { list, limits, onChange, onSelect, onRemove });
    this.entries = [];
    this.working = false;
  }

  /** Add files; returns their entries. */
  add(files) {
    const added = files.map((file) => {
      const name = file.name || "pasted image";
      return { file, name, stem: name.replace(/\.[^.]*$/, "") || name, state: "waiting", saved: null };
    });
    for (const entry of added) this.list.append(this.itemOf(entry));
    this.entries.push(...added);
    this.work();
    return added;
  }

  remove(entry) {
    entry.abort?.abort();
    if (entry.thumb) URL.revokeObjectURL(entry.thumb);
    this.entries.splice(this.entries.indexOf(entry), 1);
    entry.item.remove();
    this.onRemove(entry);
  }

  retry(entry) {
    entry.state = "waiting";
    this.changed(entry);
    this.work();
  }

  /** The entry some places further in the list, or null at its ends. */
  neighbor(entry, step) {
    return this.entries[this.entries.indexOf(entry) + step] ?? null;
  }

  /** Mark the entry that is shown or will be; it is next in the queue. */
  mark(entry) {
    this.marked = entry;
    for (const other of this.entries) other.button.setAttribute("aria-current", String(other === entry));
    if (!entry) return;
    const list = this.list.getBoundingClientRect(), item = entry.item.getBoundingClientRect();
    this.list.scrollLeft += Math.min(0, item.left - list.left) + Math.max(0, item.right - list.right); // not the page
  }

  async work() {
    if (this.working) return;
    this.working = true;
    for (;;) {
      const waiting = this.entries.filter((entry) => entry.state === "waiting");
      const entry = waiting.find((one) => one === this.marked) ?? waiting[0];
      if (!entry) break;
      await this.segment(entry);
    }
    this.working = false;
  }

  async segment(entry) {
    entry.abort = new AbortController();
    entry.state = "busy";
    this.changed(entry);
    try {
      const { file } = entry, most = this.limits.bytes;
      if (file.size > most) {
        throw new Error(`upload: has ${(file.size / 1e6).toFixed(1)} MB, more than ${most / 1e6}: scale it down`);
      }
      entry.refinement = readRefinement();
      const response = await predict(file, `image=true&confidence=true&${entry.refinement}`, entry.abort.signal);
      const { image, ids, combinations, confidence, width, height, seconds } = await response.json();
      const blobs = { image: new Blob([fromBase64(image)], { type: "image/jpeg" }), ids: new Blob([fromBase64(ids)]) };
      if (confidence) blobs.confidence = new Blob([fromBase64(confidence)]);
      Object.assign(entry, { width, height, seconds, combinations, blobs });
      Object.assign(entry, { thumb: await thumbnail(blobs.image), state: "done" });
    } catch (error) {
      if (entry.abort.signal.aborted) return;
      // The server knows an uploaded file by no name.
      const text = error.message.replace(/^upload(\.tif)?(?=:)/, entry.name);
      Object.assign(entry, { state: "failed", error: text, mayWork: error.status === 0 || error.status >= 500 });
    }
    this.changed(entry);
  }

  changed(entry) {
    this.label(entry);
    this.onChange(entry);
  }

  itemOf(entry) {
    entry.picture = element("img", { alt: "", hidden: true });
    entry.words = element("small", {});
    const name = element("span", { className: "title", textContent: entry.name });
    entry.button = element("button", { type: "button", className: "thumb" }, entry.picture, name, entry.words);
    entry.button.addEventListener("click", () => this.onSelect(entry));
    const remove = element("button", { type: "button", className: "remove", textContent: "×", title: "Remove from the page" });
    remove.setAttribute("aria-label", `Remove ${entry.name}`);
    remove.addEventListener("click", () => this.remove(entry));
    entry.item = element("li", {}, entry.button, remove);
    this.label(entry);
    return entry.item;
  }

  /** Write an entry's state below its thumbnail. */
  label(entry) {
    const edited = entry.editor ? entry.editor.numPainted > 0 : Boolean(entry.edits);
    const isSaved = entry.saved?.version === (entry.editor?.version ?? entry.version ?? 0);
    entry.words.textContent = isSaved ? "saved" : WORDS[entry.state] || (edited ? "corrected" : "segmented");
    entry.item.className = isSaved ? "saved" : entry.state;
    if (!entry.thumb || entry.picture.src) return;
    entry.picture.src = entry.thumb;
    entry.picture.hidden = false;
  }
}

/** Unpack what is needed to show and to correct an image. */
export async function open(entry) {
  const { width, height, blobs, edits } = entry, pixels = width * height;
  const predicted = await unpack(blobs.ids, pixels);
  const confidence = blobs.confidence ? await unpack(blobs.confidence, pixels) : null;
  const ids = edits ? await unpack(edits.ids, pixels) : predicted.slice();
  const painted = edits ? await unpack(edits.painted, pixels) : new Uint8Array(pixels);
  entry.editor = new Editor(width, height, predicted, ids, painted, entry.version ?? 0);
  return { entry, editor: entry.editor, confidence, image: URL.createObjectURL(blobs.image) };
}

/** Keep the corrections of an image that is no longer shown; its undo steps end here. */
export async function close({ entry, editor, image }) {
  URL.revokeObjectURL(image);
  editor.end();
  entry.version = editor.version;
  entry.edits = editor.numPainted ? { ids: await pack(editor.ids), painted: await pack(editor.painted) } : null;
  entry.editor = null;
}

async function thumbnail(blob) {
  const image = await createImageBitmap(blob);
  const scale = Math.min(1, THUMB / Math.max(image.width, image.height));
  const canvas = element("canvas", { width: Math.ceil(image.width * scale), height: Math.ceil(image.height * scale) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85));
  return URL.createObjectURL(small);
}
