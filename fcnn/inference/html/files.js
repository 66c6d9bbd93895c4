// Image files from drops, pastes and choices, as [{path, file}].

// Returns the files that were dropped, with those in folders. It must be called while the drop is handled.
export function dropped(transfer) {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return Promise.all(entries.map((entry) => inEntry(entry, true))).then((lists) => lists.flat());
}

async function inEntry(entry, wanted) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return wanted || isImage(file) ? [{ path: entry.fullPath.slice(1), file }] : [];
  }
  const reader = entry.createReader();
  const entries = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) {
    entries.push(...some); // a browser gives at most 100 at once
  }
  return sorted((await Promise.all(entries.map((each) => inEntry(each, false)))).flat());
}

// Returns the files of an <input>; of a folder, its images.
export function chosen(input) {
  const files = Array.from(input.files).filter((file) => !input.webkitdirectory || isImage(file));
  return sorted(files.map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

export function pasted(clipboard) {
  return Array.from(clipboard.files, (file) => ({ path: file.name, file }));
}

function isImage(file) {
  return file.type.startsWith("image/");
}

function sorted(items) {
  return items.sort((a, b) => (a.path < b.path ? -1 : 1));
}
