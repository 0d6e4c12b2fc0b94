// Masks as PNG files: class ids with the class colors as palette, or 16-bit grayscale for ids above 255.

/** A PNG of class ids. `colors` are [red, green, blue] by id; ids without a color are white. */
export async function encodeMask({ width, height, ids }, colors) {
  const wide = colors.length > 256 || ids.some((id) => id > 255);
  const row = 1 + width * (wide ? 2 : 1); // a filter byte in front, which is 0: none
  const rows = new Uint8Array(row * height);
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, to = y * row + 1; x < width; x++, from++) {
      if (wide) rows[to++] = ids[from] >> 8;
      rows[to++] = ids[from] & 255;
    }
  }
  const head = new Uint8Array(13), view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([wide ? 16 : 8, wide ? 0 : 3], 8);
  const palette = new Uint8Array(768).fill(255);
  palette.set(colors.slice(0, 256).flat());
  const data = new Uint8Array(await (await pack(rows)).arrayBuffer());
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk("IHDR", head)];
  if (!wide) parts.push(chunk("PLTE", palette));
  parts.push(chunk("IDAT", data), chunk("IEND", new Uint8Array()));
  return new Blob(parts, { type: "image/png" });
}

/** A zlib stream of an array, as a Blob. */
export function pack(array) {
  return new Response(new Blob([array]).stream().pipeThrough(new CompressionStream("deflate"))).blob();
}

function chunk(kind, data) {
  const bytes = new Uint8Array(data.length + 12), view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let index = 0; index < 4; index++) bytes[4 + index] = kind.charCodeAt(index);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}
