// The page: files in, answers out, one image after the other.

import { answer, csv } from "./answers.js";
import { setUpCamera } from "./camera.js";
import { chosen, dropped, pasted } from "./files.js";
import { loadMeans, loadNetwork, readImage } from "./network.js";
import { details, element, fillRow, picture, summary } from "./view.js";

const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("about").textContent);
const items = []; // {path, file, row, outputs and result, or error}
const status = (text) => (byId("status").textContent = text);
let selected = null;
let work = Promise.resolve(); // what is being done, to which more is chained
let total = 0;

const network = loadNetwork(about);
const means = about.leastSimilarity === null ? null : loadMeans();

function coverage() {
  return Number(byId("coverage").value);
}

async function classify(item) {
  try {
    const pixels = await readImage(item.file, about);
    item.outputs = await (await network)(pixels);
    item.result = answer(about, await means, item.outputs, coverage());
    return pixels;
  } catch (error) {
    item.error = error.message;
    return null;
  }
}

function add(files) {
  total += files.length;
  files.forEach((item, i) => {
    work = work.then(async () => {
      status(`Image ${items.length + 1} of ${total} ...`);
      const pixels = await classify(item);
      items.push(item);
      addRow(item, pixels);
      if (i === 0) show(item, pixels);
      if (items.length === total) status(summary(items));
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
    });
  });
}

function addRow(item, pixels) {
  item.row = byId("rows").insertRow();
  item.row.insertCell().append(...(pixels ? [thumbnail(pixels)] : []));
  const button = element("button", item.path, { className: "link", onclick: () => select(item) });
  item.row.insertCell().append(button);
  fillRow(item.row, item, coverage() > 0);
  byId("all").hidden = items.length < 2;
}

function thumbnail(pixels) {
  const [height, width] = about.shape;
  const [w, h] = [width, height].map((side) => Math.max(1, Math.round((48 * side) / Math.max(width, height))));
  const small = element("canvas", "", { width: w, height: h, ariaHidden: "true" });
  small.getContext("2d").drawImage(picture(pixels, about.shape, ""), 0, 0, w, h);
  return small;
}

// The pixels aren't kept, for the sake of a phone's memory.
async function select(item) {
  show(item, await readImage(item.file, about).catch(() => null));
  byId("answer").scrollIntoView({ block: "nearest" });
}

function show(item, pixels) {
  selected?.row.classList.remove("selected");
  selected = item;
  item.row.classList.add("selected");
  byId("seen").hidden = !pixels;
  if (pixels) byId("seen-picture").replaceChildren(picture(pixels, about.shape, `${item.path}, as the network sees`));
  byId("said").replaceChildren(...details(item));
  byId("answer").hidden = false;
}

async function changeCoverage() {
  const directions = await means;
  for (const item of items) {
    if (item.outputs) item.result = answer(about, directions, item.outputs, coverage());
    fillRow(item.row, item, coverage() > 0);
  }
  byId("set-column").hidden = !coverage();
  if (selected) byId("said").replaceChildren(...details(selected));
}

function removeAll() {
  work = work.then(() => {
    items.length = total = 0;
    selected = null;
    byId("rows").replaceChildren();
    byId("all").hidden = byId("answer").hidden = true;
    status("Ready.");
    byId("choose").focus();
  });
}

function download() {
  const link = element("a", "", { download: "predictions.csv" });
  link.href = URL.createObjectURL(new Blob([csv(items)], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function setUpInputs() {
  for (const [button, input] of [
    ["choose", "files"],
    ["choose-folder", "folder"],
  ]) {
    byId(button).onclick = () => byId(input).click();
    byId(input).onchange = ({ target }) => {
      add(chosen(target));
      target.value = ""; // so that the same file can be chosen again
    };
  }
  byId("choose-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype);
  document.addEventListener("paste", (event) => add(pasted(event.clipboardData)));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    const files = await dropped(event.dataTransfer).catch(() => []);
    if (files.length) add(files);
    else
      status("There are no images in what was dropped, or this browser lists no folders: choose them by the button.");
  });
  setUpCamera(byId, add, status);
}

function setUpPage() {
  byId("coverage-line").hidden = !about.thresholds.length;
  about.thresholds.forEach((_, i) => {
    byId("coverage").append(element("option", `${50 + i} %`, { value: 50 + i }));
  });
  byId("coverage").onchange = changeCoverage;
  byId("download").onclick = download;
  byId("remove").onclick = removeAll;
  setUpInputs();
  network.then(
    () => items.length || total || status("Ready."),
    (error) => status(error.message),
  );
}

setUpPage();
