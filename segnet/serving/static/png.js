// Reads a mask's class ids out of the PNG that the server sends: indexed, or 16-bit gray where there are more classes
// than 256. A canvas would give colors instead, which two classes may share and some browsers change on purpose.
// PNG Specification (Third Edition), W3C 2025, https://www.w3.org/TR/png-3/

const INDEXED = 3, GRAY = 0;

/** @param {Uint8Array} bytes  @returns {Promise<{width: number, height: number, ids: Uint8Array|Uint16Array}>} */
export async function readMask(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [];
  let head;
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at), kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8)), start = at + 8;
    if (kind === "IHDR") {
      head = {
        width: view.getUint32(start), height: view.getUint32(start + 4),
        depth: bytes[start + 8], color: bytes[start + 9], interlaced: bytes[start + 12],
      };
    } else if (kind === "IDAT") parts.push(bytes.subarray(start, start + length));
    at = start + length + 4;
  }
  if (![INDEXED, GRAY].includes(head.color) || head.interlaced) throw new Error("the server's mask is of another kind");
  const packed = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(packed).arrayBuffer());
  unfilter(rows, head);
  return { width: head.width, height: head.height, ids: unpack(rows, head) };
}

/** Undoes in place what each row's first byte says was done to it (section 9.2). */
function unfilter(rows, { width, height, depth }) {
  const stride = Math.ceil((width * depth) / 8) + 1, step = Math.max(1, depth / 8);
  for (let y = 0; y < height; y++) {
    const row = y * stride + 1, filter = rows[row - 1];
    if (filter === 0) continue;
    for (let x = 0; x < stride - 1; x++) {
      const here = row + x;
      const left = x >= step ? rows[here - step] : 0;
      const up = y ? rows[here - stride] : 0;
      if (filter === 1) rows[here] += left;
      else if (filter === 2) rows[here] += up;
      else if (filter === 3) rows[here] += (left + up) >> 1;
      else rows[here] += paeth(left, up, y && x >= step ? rows[here - stride - step] : 0);
    }
  }
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function unpack(rows, { width, height, depth }) {
  const stride = Math.ceil((width * depth) / 8) + 1;
  const ids = new (depth === 16 ? Uint16Array : Uint8Array)(width * height);
  const last = (1 << depth) - 1;
  for (let y = 0, to = 0; y < height; y++) {
    const row = y * stride + 1;
    for (let x = 0; x < width; x++, to++) {
      if (depth === 8) ids[to] = rows[row + x];
      else if (depth === 16) ids[to] = (rows[row + 2 * x] << 8) | rows[row + 2 * x + 1];
      else ids[to] = (rows[row + ((x * depth) >> 3)] >> (8 - depth - ((x * depth) & 7))) & last;
    }
  }
  return ids;
}
