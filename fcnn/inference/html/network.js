// The network in this page, and image files as it takes them.

import { jpegReduction, reduced } from "./jpeg.js";
import { resizeCrop } from "./resize.js";

const MAX_PIXELS = 100_000_000;

// Returns the bytes of an element that Python wrote into the page: gzip in base64.
async function unpack(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i); // Uint8Array.from would list them all first
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).arrayBuffer();
}

// Returns a file of ONNX Runtime Web: from the page, or from its address, whose content must have the hash in the page.
// That is how script and WebAssembly are both pinned: the browser refuses any other content (Subresource Integrity).
async function runtimeFile({ id, url, integrity }) {
  if (!url) return unpack(id);
  try {
    return await (await fetch(url, { integrity, credentials: "omit", referrerPolicy: "no-referrer" })).arrayBuffer();
  } catch {
    throw new Error(
      `The page loads its runtime from ${new URL(url).host}, and doesn't get what it expects. Is this device online? ` +
        "A page written by fcnn export with --runtime works offline.",
    );
  }
}

// Returns a function from pixels, (H, W, C) uint8, to {probabilities, features}; features only where the network has
// them. On one thread: browsers give a file's page no more.
export async function loadNetwork({ shape, runtime }) {
  const script = new Blob([await runtimeFile(runtime.script)], { type: "text/javascript" });
  const ort = await import(URL.createObjectURL(script));
  Object.assign(ort.env.wasm, { wasmBinary: await runtimeFile(runtime.wasm), numThreads: 1 });
  const session = await ort.InferenceSession.create(new Uint8Array(await unpack("model")));
  return async (pixels) => {
    const images = new ort.Tensor("uint8", pixels, [1, ...shape]);
    const { probabilities, features } = await session.run({ images });
    return { probabilities: probabilities.data, features: features?.data };
  };
}

// Returns the directions of the classes' features, (classes, D) float32.
export async function loadMeans() {
  return new Float32Array(await unpack("means"));
}

// Returns an image file as the network takes it: (H, W, C) uint8; an Error says why it can't be read.
export async function readImage(file, about) {
  const start = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  if (isDeepGray(start)) throw new Error("gray values of more than 8 bits, but the network was trained on 8 bits");
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error("not an image that this browser can read");
  });
  try {
    const { width, height } = bitmap;
    if (width * height > MAX_PIXELS) throw new Error(`too large: ${width} x ${height} pixels`);
    const factor = isJpeg(start) ? jpegReduction(width, height, about) : 1;
    if (factor === 1) return resizeCrop(partsOf(bitmap), width, height, about);
    const read = reduced(partsOf(bitmap), width, height, factor);
    return resizeCrop(read, Math.ceil(width / factor), Math.ceil(height / factor), about);
  } finally {
    bitmap.close();
  }
}

function isJpeg(start) {
  return start[0] === 0xff && start[1] === 0xd8;
}

// PNG (ISO/IEC 15948, 11.2.2): a browser would silently take the upper 8 bits of each gray value.
function isDeepGray(start) {
  const png = [0x89, 0x50, 0x4e, 0x47].every((byte, i) => start[i] === byte);
  return png && start[24] === 16 && start[25] === 0;
}

// Returns a function that reads parts of a bitmap: (left, top, width, height) -> RGBA, on white where it's transparent.
function partsOf(bitmap) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  return (left, top, width, height) => {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
}
