// Downloads of what the page shows, and saving corrected masks on the server.

import { percent } from "./legend.js";
import { encodeMask } from "./png.js";
import { collect, predict } from "./server.js";

const at = (id) => document.getElementById(id);
const MOST_PIXELS = 16.7e6; // of an overlay: the largest canvas of phones

/** Offer a file as a download. */
function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export async function saveMask({ entry, editor }, classes) {
  download(await encodeMask(editor, classes.map(({ color }) => color)), `${entry.stem}_mask.png`);
}

/** A page per class; the server writes it, as its masks are not corrected. */
export async function savePlanes({ entry }) {
  download(await (await predict(entry.file, `output=mask&${entry.refinement}`)).blob(), `${entry.stem}_mask.tif`);
}

/** The image with the visible classes, in full size up to MOST_PIXELS. `colorAt` as in `drawIds`. */
export async function saveOverlay({ entry, editor }, colorAt, opacity) {
  const { width, height } = editor, scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const sheet = Object.assign(document.createElement("canvas"), {
    width: Math.max(1, Math.floor(width * scale)), height: Math.max(1, Math.floor(height * scale)),
  });
  const context = sheet.getContext("2d");
  const image = await bestImage(entry);
  context.drawImage(image, 0, 0, sheet.width, sheet.height);
  image.close();
  const pixels = context.getImageData(0, 0, sheet.width, sheet.height), { data } = pixels;
  for (let y = 0, to = 0; y < sheet.height; y++) {
    const row = Math.floor(((y + 0.5) * height) / sheet.height);
    for (let x = 0; x < sheet.width; x++, to += 4) {
      const column = Math.floor(((x + 0.5) * width) / sheet.width);
      const color = colorAt(row * width + column, column, row);
      if (!color) continue;
      for (let band = 0; band < 3; band++) {
        data[to + band] = Math.round((1 - opacity) * data[to + band] + opacity * ((color >>> (8 * band)) & 255));
      }
    }
  }
  context.putImageData(pixels, 0, 0);
  download(await new Promise((resolve) => sheet.toBlob(resolve, "image/png")), `${entry.stem}_overlay.png`);
}

/** The file itself where the browser reads it in its full size; else what the server made of it, up to 2048 pixels. */
async function bestImage(entry) {
  const own = await createImageBitmap(entry.file).catch(() => null);
  if (own && own.width === entry.width && own.height === entry.height) return own;
  own?.close();
  return createImageBitmap(entry.blobs.image);
}

export async function savePolygons({ entry }) {
  download(await (await predict(entry.file, `output=polygons&${entry.refinement}`)).blob(), `${entry.stem}.geojson`);
}

/**
 * Save the image and its mask on the server. Pixels that were not painted are ignored, or as predicted if the user
 * says so.
 * @returns {name, image, mask, replaced, count}
 */
export async function saveCorrected({ entry, editor }, classes, ignored, keepsPrediction, replace) {
  let { ids } = editor;
  if (!keepsPrediction) {
    const type = ignored > 255 ? Uint16Array : ids.constructor;
    ids = new type(ids.length).fill(ignored);
    for (let index = 0; index < ids.length; index++) if (editor.painted[index]) ids[index] = editor.ids[index];
  }
  const { width, height, version } = editor;
  const png = await encodeMask({ width, height, ids }, classes.map(({ color }) => color));
  const saved = await collect(entry.file, png, entry.name, replace);
  entry.saved = { name: saved.name, version, keepsPrediction };
  return saved;
}

/** The state of the button that saves: what would be saved, and whether something is left to save. */
export function showSaving({ entry, editor }, ignored, counts) {
  const { numPainted, width, height, version } = editor, all = width * height;
  const keeps = at("predicted").checked, labeled = keeps ? all - counts.ignored : numPainted - counts.ignoredByHand;
  const isSaved = entry.saved?.version === version && entry.saved.keepsPrediction === keeps;
  at("save").disabled = !labeled || isSaved;
  at("save").textContent = entry.saved ? "Save again" : "Save image and mask";
  if (isSaved) at("saved").textContent = `Saved as ${entry.saved.name}.`;
  else if (!labeled) at("saved").textContent = "Paint the pixels that you are sure of, or keep the prediction.";
  else if (labeled === all) at("saved").textContent = "All pixels are labeled.";
  else at("saved").textContent = `${percent(labeled / all)} of the pixels are labeled, the rest is ignored in a training (${ignored}).`;
}
