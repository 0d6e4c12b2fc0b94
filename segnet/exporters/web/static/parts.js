// The files that the page needs: embedded in it as compressed base64, or downloaded and compared with their hash.

/** A file as a Blob. `place` is {type, url, integrity}; without a url it is embedded under its name. */
export async function load(name, { type, url, integrity }) {
  if (!url) return new Blob([await embedded(name)], { type });
  const response = await fetch(url, { integrity, credentials: "omit" }).catch(() => {
    throw new Error(`${url} cannot be loaded (no network?), or is not the file that the page was written for`);
  });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return new Blob([await response.blob()], { type });
}

/** The content of an embedded file, which is then removed from the page. */
export async function embedded(name) {
  const parts = [...document.querySelectorAll(`script[data-file="${name}"]`)];
  const packed = new ReadableStream({
    pull(controller) {
      const part = parts.shift();
      if (!part) return controller.close();
      controller.enqueue(fromBase64(part.textContent));
      part.remove();
    },
  });
  try {
    return await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).blob();
  } catch {
    throw new Error("this file is damaged or incomplete: copy or download it again");
  }
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}
