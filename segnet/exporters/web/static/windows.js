// Masks of images, in one piece or in overlapping windows with blended probabilities. The windows, their weights and their
// order are those of segnet/images/windows.py, so that a page gives the masks of segnet predict.

const STRIP = 6; // windows per row of a strip: the pending overlaps have the width of a strip

/** One axis of an image with overlapping windows of equal length; the last one ends at the image border. */
export class Side {
  constructor(length, window, overlap) {
    this.length = length;
    this.window = Math.min(window, length);
    const last = length - this.window;
    const steps = Math.ceil(last / Math.max(1, Math.floor(this.window * (1 - overlap))));
    this.starts = steps ? Array.from({ length: steps + 1 }, (_, index) => rounded((last * index) / steps)) : [0];
    const edges = new Set(this.starts.flatMap((start) => [start, start + this.window]));
    this.edges = [...edges].sort((a, b) => a - b);
    this.ramp = Float32Array.from({ length: this.window }, (_, index) => Math.min(index, this.window - 1 - index) + 0.5);
    this.total = new Float32Array(length);
    for (const start of this.starts) this.ramp.forEach((value, index) => (this.total[start + index] += value));
  }

  /** Blending weights of a window: decreasing towards its ends; all windows sum to 1. */
  weights(index) {
    return this.ramp.map((value, place) => value / this.total[this.starts[index] + place]);
  }

  /** Index of the last window that covers a pixel. */
  lastOver(position) {
    return this.starts.findLastIndex((start) => start <= position);
  }

  /** Number of windows that cover a pixel. */
  numOver(position) {
    return this.starts.filter((start) => start <= position && start > position - this.window).length;
  }

  /** Start and end of the parts of a window between edges. */
  pieces(index) {
    const start = this.starts[index];
    const inside = this.edges.filter((edge) => edge >= start && edge <= start + this.window);
    return inside.slice(1).map((end, before) => [inside[before], end]);
  }
}

/** Yield {row, column, pieces} of each window; a piece has {top, left, bottom, right, shared, complete}. */
export function* mosaic(rows, columns) {
  const starts = [...columns.starts, columns.length], last = starts.length - 1;
  const several = last > STRIP;
  for (let first = 0; first < (several ? last : 1); first += STRIP - 1) {
    const behind = several ? Math.min(first + STRIP - 1, last) : last;
    for (let row = 0; row < rows.starts.length; row++) {
      for (let column = 0; column < behind; column++) {
        if (starts[column] + columns.window <= starts[first]) continue;
        yield { row, column, pieces: piecesOf(rows, columns, row, column, starts[first], starts[behind]) };
      }
    }
  }
}

function piecesOf(rows, columns, row, column, low, high) {
  const found = [];
  for (const [top, bottom] of rows.pieces(row)) {
    for (const [left, right] of columns.pieces(column)) {
      if (left < low || left >= high) continue;
      const shared = rows.numOver(top) * columns.numOver(left) > 1;
      const complete = rows.lastOver(top) === row && columns.lastOver(left) === column;
      found.push({ top, left, bottom, right, shared, complete });
    }
  }
  return found;
}

/**
 * The class ids of an image.
 *
 * @param size {width, height} of the image
 * @param classes number of classes
 * @param tiling {side, overlap} of the windows [pixels, fraction]; side null: the image in one piece
 * @param run async (top, left, height, width) => logits (classes, height, width) of this window, a Float32Array
 * @param onWindow async (done, all), called after each window
 */
export async function segment({ width, height }, classes, { side, overlap }, run, onWindow) {
  const ids = new (classes > 256 ? Uint16Array : Uint8Array)(width * height);
  if (side === null || Math.max(width, height) <= side) {
    argmax(await run(0, 0, height, width), width * height, (pixel, id) => (ids[pixel] = id));
    return ids;
  }
  const rows = new Side(height, side, overlap), columns = new Side(width, side, overlap);
  const windows = [...mosaic(rows, columns)], waiting = new Map();
  for (const [index, { row, column, pieces }] of windows.entries()) {
    const top = rows.starts[row], left = columns.starts[column];
    const scores = softmax(await run(top, left, rows.window, columns.window), rows.window * columns.window);
    const window = { scores, top, left, height: rows.window, width: columns.window, classes };
    const down = rows.weights(row), across = columns.weights(column);
    for (const piece of pieces) {
      const key = `${piece.top} ${piece.left}`, wide = piece.right - piece.left;
      const part = added(cut(window, piece), piece, window, down, across, waiting.get(key));
      waiting.delete(key);
      if (!piece.complete) waiting.set(key, part);
      else {
        argmax(part, part.length / classes, (pixel, id) => {
          ids[(piece.top + Math.floor(pixel / wide)) * width + piece.left + (pixel % wide)] = id;
        });
      }
    }
    await onWindow(index + 1, windows.length);
  }
  return ids;
}

/** The scores of a piece, (classes, h, w), from those of its window. */
function cut({ scores, top, left, height, width, classes }, piece) {
  const tall = piece.bottom - piece.top, wide = piece.right - piece.left, part = new Float32Array(classes * tall * wide);
  for (let line = 0; line < classes * tall; line++) {
    const y = piece.top - top + (line % tall);
    const from = (Math.floor(line / tall) * height + y) * width + piece.left - left;
    part.set(scores.subarray(from, from + wide), line * wide);
  }
  return part;
}

/** Weight the scores of a shared piece, and add those of earlier windows. */
function added(part, piece, window, down, across, before) {
  if (!piece.shared) return part;
  const tall = piece.bottom - piece.top, wide = piece.right - piece.left;
  for (let index = 0; index < part.length; index++) {
    const weight = down[piece.top - window.top + (Math.floor(index / wide) % tall)] * across[piece.left - window.left + (index % wide)];
    part[index] *= Math.fround(weight);
    if (before) part[index] += before[index];
  }
  return part;
}

/** Softmax over classes of logits (classes, pixels), in place. */
export function softmax(logits, pixels) {
  const most = logits.slice(0, pixels), sums = new Float32Array(pixels);
  for (let from = pixels; from < logits.length; from += pixels) {
    for (let pixel = 0; pixel < pixels; pixel++) most[pixel] = Math.max(most[pixel], logits[from + pixel]);
  }
  for (let from = 0; from < logits.length; from += pixels) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      logits[from + pixel] = Math.exp(logits[from + pixel] - most[pixel]);
      sums[pixel] += logits[from + pixel];
    }
  }
  for (let from = 0; from < logits.length; from += pixels) {
    for (let pixel = 0; pixel < pixels; pixel++) logits[from + pixel] /= sums[pixel];
  }
  return logits;
}

/** Call `write(pixel, id)` with the class of the highest score (the first of ties), from scores (classes, pixels). */
export function argmax(scores, pixels, write) {
  const best = scores.slice(0, pixels), ids = new Uint16Array(pixels);
  for (let id = 1, from = pixels; from < scores.length; id++, from += pixels) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (scores[from + pixel] > best[pixel]) {
        best[pixel] = scores[from + pixel];
        ids[pixel] = id;
      }
    }
  }
  for (let pixel = 0; pixel < pixels; pixel++) write(pixel, ids[pixel]);
}

/** As Python rounds: halves to the even number. */
function rounded(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}
