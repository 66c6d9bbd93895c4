// Image files from drops, pastes and choices, as [{path, file}].

// Returns the files that were dropped, and the images in folders. It must be called while the drop is handled.
export async function dropped(transfer) {
  const items = Array.from(transfer.items).filter(({ kind }) => kind === "file");
  return (await Promise.all(items.map(inItem))).flat();
}

async function inItem(item) {
  const entry = item.webkitGetAsEntry();
  if (!entry?.isDirectory) return [{ path: item.getAsFile().name, file: item.getAsFile() }];
  // Chromium lists a folder for a page that is a file only by a handle; other browsers have only the older entries.
  const found = item.getAsFileSystemHandle ? inHandle(await item.getAsFileSystemHandle(), "") : inEntry(entry);
  return sorted((await found).filter(({ file }) => isImage(file)));
}

async function inHandle(handle, folder) {
  const path = folder + handle.name;
  if (handle.kind === "file") return [{ path, file: await handle.getFile() }];
  const lists = [];
  for await (const child of handle.values()) lists.push(await inHandle(child, `${path}/`));
  return lists.flat();
}

async function inEntry(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path: entry.fullPath.slice(1), file }];
  }
  const reader = entry.createReader();
  const lists = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) {
    lists.push(...(await Promise.all(some.map(inEntry)))); // a browser gives at most 100 at once
  }
  return lists.flat();
}

// Returns the files of an <input>; of a folder, its images.
export function chosen(input) {
  const files = Array.from(input.files).filter((file) => !input.webkitdirectory || isImage(file));
  return sorted(files.map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

export function pasted(clipboard) {
  return Array.from(clipboard.files, (file) => ({ path: file.name, file }));
}

// Those that many a system has no type for are no less images: that they can't be read is to be said.
function isImage({ name, type }) {
  return type.startsWith("image/") || /\.(heic|heif|hif|avif|tiff?)$/i.test(name);
}

function sorted(items) {
  return items.sort((a, b) => (a.path < b.path ? -1 : 1));
}
