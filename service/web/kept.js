// What this browser remembers of unfinished uploads, so that a reload ends none; small files are kept whole.

const STORE = "uploads";
const MOST_KEPT_BYTES = 2 ** 30;
const kept = new Map(); // address -> bytes that are kept of it
const locks = new Map(); // address -> what lets go of it
let opening = null;

/** Remember an upload, with its file if there is room; larger ones have to be chosen again after a reload. */
export async function keepUpload({ address, file, key }) {
  const taken = [...kept.values()].reduce((sum, bytes) => sum + bytes, 0);
  const facts = { address, key, name: file.name, size: file.size, lastModified: file.lastModified };
  const isWhole = taken + file.size <= MOST_KEPT_BYTES;
  if (isWhole && await write((store) => store.put({ ...facts, file }))) kept.set(address, file.size);
  else await write((store) => store.put({ ...facts, file: null }));
}

export function isKept(address) {
  return kept.has(address);
}

export async function forgetUpload(address) {
  letGo(address);
  kept.delete(address);
  await write((store) => store.delete(address));
}

/** Return the uploads that no window of this browser goes on with. */
export async function unfinishedUploads() {
  const found = await asked("readonly", (store) => store.getAll()) ?? [];
  const held = (await navigator.locks?.query())?.held.map((lock) => lock.name) ?? [];
  const free = found.filter((each) => !held.includes(nameOf(each.address)));
  for (const each of free) if (each.file) kept.set(each.address, each.size);
  return free;
}

/** Take an upload for this window; false if another one has it. */
export function hold(address) {
  if (!navigator.locks || locks.has(address)) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks.request(nameOf(address), { ifAvailable: true }, (lock) => {
      resolve(Boolean(lock));
      return lock ? new Promise((release) => { locks.set(address, release); }) : null;
    });
  });
}

function letGo(address) {
  locks.get(address)?.();
  locks.delete(address);
}

function nameOf(address) {
  return `reelseek upload ${address}`;
}

async function write(change) {
  return (await asked("readwrite", change)) !== null;
}

/** Ask the store; null where the browser has no room, or keeps nothing (a private window). */
async function asked(mode, ask) {
  try {
    opening ??= open();
    const database = await opening;
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = ask(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result ?? true);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return null;
  }
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("reelseek", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "address" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
