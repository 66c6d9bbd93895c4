// From what a network makes of an image to what is said of it, as fcnn/inference/predict.py and `fcnn predict --csv`.

const TOP = 5;
export const NONE = "none of these";

// Returns what the network says about an image.
//   about: {classes, thresholds: of the coverages 0.50, 0.51, ..., leastSimilarity: of images of a class, or null}.
//   means: (classes, D) directions of the classes' features; null if it knows no images of none of them.
//   outputs: {probabilities: (classes,), features: (D,) where it has them}.
//   percent: coverage of the set of classes, 0 without sets.
export function answer(about, means, { probabilities, features }, percent) {
  const { classes, leastSimilarity } = about;
  const order = Array.from(classes.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const top = order.slice(0, TOP).map((k) => ({ name: classes[k], probability: probabilities[k] }));
  const result = { name: top[0].name, noneOfThese: false, top };
  if (percent) {
    const threshold = Math.fround(about.thresholds[percent - 50]);
    const inside = (k) => k === order[0] || Math.fround(1 - probabilities[k]) <= threshold;
    result.set = order.filter(inside).map((k) => classes[k]);
  }
  if (means) {
    const similarity = similarities(features, means);
    const nearest = similarity.indexOf(Math.max(...similarity));
    result.noneOfThese = similarity[nearest] < Math.fround(leastSimilarity);
    result.nearest = classes[nearest];
    if (result.noneOfThese) result.name = NONE;
  }
  return result;
}

// Returns the cosine between an image's features and each class's direction, which has length 1 or 0.
function similarities(features, means) {
  const size = features.length;
  const length = Math.sqrt(features.reduce((sum, x) => sum + x * x, 0)) || 1;
  return Array.from({ length: means.length / size }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < size; i++) sum += features[i] * means[k * size + i];
    return Math.fround(sum / length);
  });
}

// Returns a table with the columns of `fcnn predict --csv`.
//   items: [{path, result: as `answer` returns it, or error: why the image can't be read}].
export function csv(items) {
  const results = items.flatMap(({ result }) => result ?? []);
  const count = Math.max(0, ...results.map(({ top }) => top.length));
  const numbers = Array.from({ length: count }, (_, i) => [`class_${i + 1}`, `probability_${i + 1}`]);
  const sets = results.some(({ set }) => set);
  const rows = [["path", "class", "probability", ...numbers.flat(), ...(sets ? ["set"] : []), "error"]];
  for (const { path, result, error } of items) {
    const cells = (result?.top ?? []).flatMap(({ name, probability }) => [name, probability.toFixed(6)]);
    const padding = Array(2 * count - cells.length).fill("");
    const set = sets ? [result?.set.join("; ") ?? ""] : [];
    const probability = result?.noneOfThese ? "" : (cells[1] ?? "");
    rows.push([path, result?.name ?? "", probability, ...cells, ...padding, ...set, error ?? ""]);
  }
  return rows.map((row) => row.map(quoted).join(",") + "\n").join("");
}

function quoted(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
