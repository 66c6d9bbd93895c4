// Large JPEGs as fcnn reads them: decoded smaller than they are, as libjpeg can (Pillow's Image.draft).

import { STRIP } from "./resize.js";

// Returns how many times smaller fcnn reads a JPEG: 2, 4 or 8 where that leaves as many pixels as are needed, else 1
// (`least_side` of fcnn/inference/predict.py).
export function jpegReduction(width, height, { shape, crop }) {
  const least = Math.ceil(Math.min(shape[0], shape[1]) / crop);
  const most = Math.min(Math.floor(width / least), Math.floor(height / least));
  return [8, 4, 2].find((factor) => factor <= most) ?? 1;
}

// Reads an image as libjpeg decodes it at a half, a quarter or an eighth: by means of squares of pixels. The difference
// that remains, 0.3 gray levels on average, is that libjpeg takes the colors, of which a JPEG has fewer, as they are.
// (Squares begin at the corner of the upright image; where the camera was turned and a side is no multiple of `factor`,
// libjpeg's begin up to half of one beside.)
//   read: as for `resizeCrop`, of an image of `width` x `height`. Returns such a function of the smaller image.
export function reduced(read, width, height, factor) {
  const rows = Math.max(1, Math.floor(STRIP / (width * factor)));
  return (left, top, outWidth, outHeight) => {
    const result = new Uint8ClampedArray(4 * outWidth * outHeight);
    for (let start = 0; start < outHeight; start += rows) {
      const from = [left * factor, (top + start) * factor];
      const partWidth = Math.min(width - from[0], outWidth * factor);
      const partHeight = Math.min(height - from[1], Math.min(rows, outHeight - start) * factor);
      const pixels = read(...from, partWidth, partHeight);
      squareMeans(pixels, partWidth, partHeight, factor, result.subarray(4 * start * outWidth));
    }
    return result;
  };
}

// Writes the mean of each square of RGBA pixels; at the right and lower edge, of what is there of it.
function squareMeans(pixels, width, height, factor, out) {
  let at = 0;
  for (let top = 0; top < height; top += factor) {
    for (let left = 0; left < width; left += factor, at += 4) {
      const [bottom, right] = [Math.min(height, top + factor), Math.min(width, left + factor)];
      let [r, g, b] = [0, 0, 0];
      for (let y = top; y < bottom; y++) {
        for (let i = 4 * (y * width + left); i < 4 * (y * width + right); i += 4) {
          r += pixels[i];
          g += pixels[i + 1];
          b += pixels[i + 2];
        }
      }
      const count = (bottom - top) * (right - left);
      out.set(
        [r, g, b].map((sum) => Math.floor(sum / count + 0.5)),
        at,
      );
    }
  }
}
