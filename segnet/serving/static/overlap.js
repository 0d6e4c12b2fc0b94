// Several classes per pixel: a pixel has the number of a combination of classes, which may be drawn and listed.

const OUTLINES_PER_SIDE = 400; // width of an outline, as a fraction of the longer side of an image

/**
 * A function for `drawIds`: the mean color of a pixel's visible classes, and the outline of each class in its color.
 * @param combinations ids of the classes of each combination
 * @param packed a color as an integer of a canvas's bytes
 */
export function overlapColors({ ids, width, height }, classes, combinations, hidden, packed) {
  const seen = combinations.map((members) => members.filter((id) => !hidden.has(id)));
  const fills = Uint32Array.from(seen, (members) => members.length && packed(mean(members.map((id) => classes[id].color))));
  const outlines = classes.map(({ color }) => packed(color));
  const ending = new Map(); // code and code of a neighbor -> the last class that ends between them, or -1
  const endOf = (code, other) => {
    const key = code * combinations.length + other;
    if (!ending.has(key)) ending.set(key, seen[code].findLast((id) => !combinations[other].includes(id)) ?? -1);
    return ending.get(key);
  };
  const far = Math.max(1, Math.round(Math.max(width, height) / OUTLINES_PER_SIDE));
  return (index, x, y) => {
    const code = ids[index];
    if (!fills[code]) return 0;
    let last = -1;
    for (let dy = -far; dy <= far; dy += far) {
      if (y + dy < 0 || y + dy >= height) continue;
      for (let dx = -far; dx <= far; dx += far) {
        if (x + dx < 0 || x + dx >= width) continue;
        const other = ids[index + dy * width + dx];
        if (other !== code) last = Math.max(last, endOf(code, other));
      }
    }
    return last < 0 ? fills[code] : outlines[last];
  };
}

/** The pixels of each class, from those of each combination. */
export function pixelsOf(combinations, counts) {
  const all = new Uint32Array(65536);
  combinations.forEach((members, code) => {
    for (const id of members) all[id] += counts[code];
  });
  return all;
}

function mean(colors) {
  return [0, 1, 2].map((band) => Math.round(colors.reduce((sum, color) => sum + color[band], 0) / colors.length));
}
