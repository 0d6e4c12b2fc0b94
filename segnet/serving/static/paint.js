// Corrections of a mask: brush, eraser, fill, undo and redo. What was painted is marked, because only that is certain.

const TILE = 64; // undo keeps copies of the tiles that a step changes [pixels]
const MOST_UNDO = 64e6; // all copies of an image [bytes]

/** The mask of the shown image. Rectangles are {left, top, right, bottom} in pixels, without right and bottom. */
export class Editor {
  /**
   * @param predicted class ids by the model, row by row
   * @param ids the corrected ids, of the same type
   * @param painted 1 where the user painted, else 0
   * @param version the number of earlier changes
   */
  constructor(width, height, predicted, ids, painted, version = 0) {
    Object.assign(this, { width, height, predicted, ids, painted });
    this.columns = Math.ceil(width / TILE);
    this.done = [];
    this.undone = [];
    this.step = null; // tile number -> its copy
    this.version = version; // counts changes
    this.numPainted = total(painted);
  }

  /** Draw a line from one point to another with a round brush. `id` null erases: the prediction comes back. */
  stroke(from, to, size, id) {
    const radius = size / 2;
    const [x0, y0, x1, y1] = [from.x, from.y, to.x, to.y].map((value) => Math.floor(value) + 0.5);
    const area = this.clipped(Math.min(x0, x1) - radius, Math.min(y0, y1) - radius,
      Math.max(x0, x1) + radius + 1, Math.max(y0, y1) + radius + 1);
    this.keep(area);
    const [dx, dy] = [x1 - x0, y1 - y0], length = dx * dx + dy * dy;
    for (let y = area.top; y < area.bottom; y++) {
      for (let x = area.left; x < area.right; x++) {
        const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
        const part = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        if (Math.hypot(px - part * dx, py - part * dy) <= radius) this.set(y * this.width + x, id);
      }
    }
    return area;
  }

  /** Give a connected region of one class another class. */
  fill(point, id) {
    const { width, height, ids } = this;
    const first = Math.floor(point.y) * width + Math.floor(point.x), old = ids[first];
    const seen = new Uint8Array(width * height), waiting = [first];
    const area = { left: width, top: height, right: 0, bottom: 0 };
    while (waiting.length) {
      let start = waiting.pop();
      if (seen[start]) continue;
      const y = Math.floor(start / width), row = y * width;
      while (start > row && ids[start - 1] === old) start--;
      let end = start;
      for (; end < row + width && ids[end] === old; end++) {
        seen[end] = 1;
        for (const next of [end - width, end + width]) {
          const same = next >= 0 && next < ids.length && ids[next] === old && !seen[next];
          if (same && (end === start || ids[next - 1] !== old || seen[next - 1])) waiting.push(next);
        }
      }
      area.left = Math.min(area.left, start - row);
      area.right = Math.max(area.right, end - row);
      area.top = Math.min(area.top, y);
      area.bottom = Math.max(area.bottom, y + 1);
    }
    this.keep(area, (index) => seen[index]);
    for (let y = area.top; y < area.bottom; y++) {
      for (let x = area.left; x < area.right; x++) if (seen[y * width + x]) this.set(y * width + x, id);
    }
    return area;
  }

  /** Take all corrections back, as one step. */
  reset() {
    const area = this.clipped(0, 0, this.width, this.height);
    this.keep(area, (index) => this.painted[index]);
    for (let index = 0; index < this.ids.length; index++) if (this.painted[index]) this.set(index, null);
    this.end();
    return area;
  }

  set(index, id) {
    this.numPainted += (id !== null) - this.painted[index];
    this.ids[index] = id ?? this.predicted[index];
    this.painted[index] = id === null ? 0 : 1;
  }

  /** End a step: undo takes it back as a whole. */
  end() {
    if (!this.step?.size) return;
    this.done.push(this.step);
    this.undone = [];
    this.step = null;
    this.version++;
    let bytes = this.done.reduce((sum, tiles) => sum + size(tiles), 0);
    while (bytes > MOST_UNDO && this.done.length > 1) bytes -= size(this.done.shift());
  }

  undo() {
    return this.swap(this.done, this.undone);
  }

  redo() {
    return this.swap(this.undone, this.done);
  }

  /** Exchange the tiles of the last step with the mask's; returns the changed area, or null without a step. */
  swap(from, to) {
    this.end();
    const step = from.pop();
    if (!step) return null;
    const area = { left: this.width, top: this.height, right: 0, bottom: 0 };
    for (const [number, tile] of step) {
      const box = this.boxOf(number), now = this.copy(box);
      this.eachRow(box, (start, end, at) => {
        this.ids.set(tile.ids.subarray(at, at + end - start), start);
        this.painted.set(tile.painted.subarray(at, at + end - start), start);
      });
      this.numPainted += total(tile.painted) - total(now.painted);
      step.set(number, now);
      area.left = Math.min(area.left, box.left);
      area.top = Math.min(area.top, box.top);
      area.right = Math.max(area.right, box.right);
      area.bottom = Math.max(area.bottom, box.bottom);
    }
    to.push(step);
    this.version++;
    return area;
  }

  /** Copy the tiles of an area before they change, once in a step; only those where `changes(index)` holds. */
  keep(area, changes) {
    this.step ??= new Map();
    for (let y = Math.floor(area.top / TILE); y * TILE < area.bottom; y++) {
      for (let x = Math.floor(area.left / TILE); x * TILE < area.right; x++) {
        const number = y * this.columns + x;
        if (this.step.has(number)) continue;
        const box = this.boxOf(number);
        let changed = !changes;
        if (changes) this.eachRow(box, (start, end) => {
          for (let index = start; index < end && !changed; index++) changed = Boolean(changes(index));
        });
        if (changed) this.step.set(number, this.copy(box));
      }
    }
  }

  copy(box) {
    const count = (box.right - box.left) * (box.bottom - box.top);
    const tile = { ids: new this.ids.constructor(count), painted: new Uint8Array(count) };
    this.eachRow(box, (start, end, at) => {
      tile.ids.set(this.ids.subarray(start, end), at);
      tile.painted.set(this.painted.subarray(start, end), at);
    });
    return tile;
  }

  eachRow(box, call) {
    for (let y = box.top, at = 0; y < box.bottom; y++, at += box.right - box.left) {
      call(y * this.width + box.left, y * this.width + box.right, at);
    }
  }

  boxOf(number) {
    const [left, top] = [(number % this.columns) * TILE, Math.floor(number / this.columns) * TILE];
    return this.clipped(left, top, left + TILE, top + TILE);
  }

  clipped(left, top, right, bottom) {
    const within = (value, most) => Math.max(0, Math.min(most, Math.floor(value)));
    return {
      left: within(left, this.width), top: within(top, this.height),
      right: within(right, this.width), bottom: within(bottom, this.height),
    };
  }
}

function total(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

function size(tiles) {
  let bytes = 0;
  for (const { ids, painted } of tiles.values()) bytes += ids.byteLength + painted.byteLength;
  return bytes;
}
