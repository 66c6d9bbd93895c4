// Crops and resizes images as `resize_crop` of fcnn/data/decode.py does, to the bit: the box of Pillow's ImageOps.fit,
// and Pillow's antialiased resampling (src/libImaging/Resample.c), two passes in 8 bits with weights in fixed point.

const PRECISION_BITS = 32 - 8 - 2;
// Pixels that are read at once: a phone has no memory, and no canvas, for a whole photograph.
export const STRIP = 1 << 21;

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: bicubic },
};

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Returns [left, top, right, bottom] of the largest center part with the aspect ratio of the result, of which `crop` is
// taken; rounded to float32, as Pillow takes it.
function centerBox(width, height, outWidth, outHeight, crop) {
  const bleed = (1 - crop) / 2;
  const [bleedX, bleedY] = [bleed * width, bleed * height];
  const [liveWidth, liveHeight] = [width - bleedX * 2, height - bleedY * 2];
  const [live, ratio] = [liveWidth / liveHeight, outWidth / outHeight];
  const boxWidth = live > ratio ? ratio * liveHeight : liveWidth;
  const boxHeight = live < ratio ? liveWidth / ratio : liveHeight;
  const left = bleedX + (liveWidth - boxWidth) * 0.5;
  const top = bleedY + (liveHeight - boxHeight) * 0.5;
  return [left, top, left + boxWidth, top + boxHeight].map(Math.fround);
}

// Returns, for each of `outSize` values, the first of the `size` values that it is made of, and their weights.
function windows(size, start, end, outSize, { support, weight }) {
  const scale = Math.fround(end - start) / outSize;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  return Array.from({ length: outSize }, (_, i) => {
    const center = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const last = Math.min(size, Math.trunc(center + reach + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) => weight((k + first - center + 0.5) * (1 / stretch)));
    const sum = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map((w) => (sum ? w / sum : w) * (1 << PRECISION_BITS));
    return { first, weights: Int32Array.from(fixed, (w) => Math.trunc(w < 0 ? w - 0.5 : w + 0.5)) };
  });
}

// Returns the weighted sum of values that lie `step` apart, which a Uint8ClampedArray clips: bicubic filters overshoot.
function weightedSum(values, at, step, weights) {
  let sum = 1 << (PRECISION_BITS - 1);
  for (let k = 0; k < weights.length; k++) sum += values[at + k * step] * weights[k];
  return sum >> PRECISION_BITS;
}

// Turns RGBA pixels into gray ones where they are, as Pillow's convert("L") does.
function toGray(pixels) {
  for (let i = 0; i < pixels.length; i += 4) {
    pixels[i] = (pixels[i] * 19595 + pixels[i + 1] * 38470 + pixels[i + 2] * 7471 + 0x8000) >> 16;
  }
}

// Returns an image as a network takes it: (H, W, C) uint8, C being 1 or 3.
//   read: (left, top, width, height) -> RGBA pixels of this part, opaque; they may be overwritten.
//   about: {shape: [H, W, C], crop, interpolation}.
export function resizeCrop(read, width, height, { shape, crop, interpolation }) {
  const [outHeight, outWidth, channels] = shape;
  const [left, top, right, bottom] = centerBox(width, height, outWidth, outHeight, crop);
  const across = windows(width, left, right, outWidth, FILTERS[interpolation]);
  const down = windows(height, top, bottom, outHeight, FILTERS[interpolation]);
  // Pillow 13 resizes along columns, then along rows, where that is faster; usually it is the other way round.
  const columns = height > outHeight && height - outHeight > (width - outWidth) * 2;
  const [along, over] = columns ? [down, across] : [across, down];
  const stride = along.length * channels;
  const [first, last] = [over[0].first, over.at(-1).first + over.at(-1).weights.length];
  const middle = new Uint8ClampedArray((last - first) * stride);
  const lines = Math.max(1, Math.floor(STRIP / (columns ? height : width)));
  for (let line = first; line < last; line += lines) {
    const count = Math.min(lines, last - line);
    const pixels = columns ? read(line, 0, count, height) : read(0, line, width, count);
    if (channels === 1) toGray(pixels);
    const [step, next] = columns ? [4 * count, 4] : [4, 4 * width];
    for (let i = 0, out = (line - first) * stride; i < count; i++) {
      for (const { first, weights } of along) {
        for (let c = 0; c < channels; c++)
          middle[out++] = weightedSum(pixels, i * next + first * step + c, step, weights);
      }
    }
  }
  const result = new Uint8ClampedArray(outHeight * outWidth * channels);
  over.forEach((window, j) => {
    for (let i = 0; i < along.length; i++) {
      const out = (columns ? i * outWidth + j : j * outWidth + i) * channels;
      const at = (window.first - first) * stride + i * channels;
      for (let c = 0; c < channels; c++) result[out + c] = weightedSum(middle, at + c, stride, window.weights);
    }
  });
  return new Uint8Array(result.buffer);
}
