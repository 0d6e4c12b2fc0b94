// Requests to the server, and the unpacking of its answers.

/** An error of the server. */
class ServerError extends Error {
  constructor(message, status = 0, retryAfter = 0) {
    super(message);
    this.status = status; // 0: no answer
    this.retryAfter = retryAfter; // [seconds]
  }
}

/** The response, or an Error with the server's one line. */
export async function answer(request) {
  const response = await request.catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer: is 'segnet serve' still running?");
  });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After") ?? 1);
  throw new ServerError(error ?? `The server answered ${response.status}.`, response.status, seconds);
}

/** Send an image; the server recognizes its format. While the queue is full, wait and try again. */
export function predict(file, query, signal) {
  return patiently(signal, () => post(`predict?${query}`, file, signal));
}

/** Save an image with its mask (a PNG); returns {name, image, mask, replaced, count}. */
export async function collect(file, png, name, replace) {
  const query = new URLSearchParams({ image_bytes: file.size, name });
  if (replace) query.set("replace", replace);
  return (await patiently(undefined, () => post(`collect?${query}`, new Blob([file, png])))).json();
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  return answer(fetch(path, { method: "POST", body, headers, signal }));
}

async function patiently(signal, request) {
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (error.status !== 503 || signal?.aborted) throw error;
      await new Promise((resume) => setTimeout(resume, 1000 * error.retryAfter));
      signal?.throwIfAborted();
    }
  }
}

export function fromBase64(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

/** One value for each pixel: in one, two or four bytes. A canvas would give a PNG's colors instead. */
export async function unpack(blob, pixels) {
  const stream = blob.stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const type = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[bytes.byteLength / pixels];
  return new type(bytes);
}
