// What the page shows of images. Names of files and classes come from strangers: they are text, never HTML.

export function element(tag, text = "", properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties);
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

// Returns pixels, (H, W, C) uint8, as a picture.
export function picture(pixels, [height, width, channels], words) {
  const canvas = element("canvas", "", { width, height, role: "img", ariaLabel: words });
  const data = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = pixels[i * channels + (channels === 3 ? c : 0)];
    data.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

// Returns the answer to one image in full.
export function details({ path, result, error }) {
  const parts = [element("p", path, { className: "soft" })];
  if (error) return [...parts, element("p", `It can't be used: ${error}.`)];
  const { name, noneOfThese, nearest, top, set } = result;
  const line = element("p", "", { className: "answer" });
  line.append(element("b", name), noneOfThese ? "" : ` ${percent(top[0].probability)}`);
  parts.push(line);
  if (noneOfThese) {
    parts.push(
      element("p", `It looks unlike the images of every class; the nearest is ${nearest}. If it were one of them:`),
    );
  }
  parts.push(bars(top));
  if (set) parts.push(element("p", `Set of classes: ${set.join(", ")}`));
  return parts;
}

function bars(top) {
  const list = element("ol", "", { className: "bars" });
  for (const { name, probability } of top) {
    const item = element("li");
    const bar = element("span", "", { className: "bar", ariaHidden: "true" });
    bar.append(element("span"));
    bar.firstChild.style.width = percent(probability).replace(" ", "");
    item.append(
      element("span", name, { className: "name" }),
      bar,
      element("span", percent(probability), { className: "number" }),
    );
    list.append(item);
  }
  return list;
}

// Writes the cells of an image's row after the first two, which have its picture and name.
export function fillRow(row, { result, error }, sets) {
  while (row.cells.length > 2) row.deleteCell(2);
  if (error) {
    row.append(element("td", `can't be used: ${error}`, { colSpan: sets ? 3 : 2 }));
    return;
  }
  const { name, noneOfThese, top } = result;
  row.append(element("td", name));
  row.append(element("td", noneOfThese ? "" : percent(top[0].probability), { className: "number" }));
  if (sets) row.append(element("td", result.set.join(", ")));
}

const LISTED = 10;

// Returns how many images there are of each answer: "12 images: cat 7, dog 4, none of these 1".
export function summary(items) {
  const counts = new Map();
  for (const { result } of items) if (result) counts.set(result.name, (counts.get(result.name) ?? 0) + 1);
  const named = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => `${name} ${count}`);
  const more = named.length > LISTED ? ` and ${named.length - LISTED} more` : "";
  const bad = items.filter(({ error }) => error).length;
  const count = items.length - bad;
  const answers = count ? `: ${named.slice(0, LISTED).join(", ")}${more}` : "";
  return `${count} image${count === 1 ? "" : "s"}${answers}` + (bad ? `; ${bad} can't be used` : "");
}
