// Upload by drag and drop or file dialog: two at a time, each with its progress.
import { upload } from "./api.js";
import { $, element, plural } from "./dom.js";

const AT_ONCE = 2;
const waiting = [];
let active = 0;
let onAccepted = () => {};

function add(files) {
  for (const file of files) {
    const progress = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const note = element("p", { className: "quiet" }, "Waiting");
    const cancel = element("button", { className: "plain small", type: "button" }, "Cancel");
    const row = element("li", {}, element("strong", {}, file.name), " ", cancel, progress, note);
    const item = { file, row, progress, note, cancel, isCancelled: false };
    cancel.addEventListener("click", () => { item.isCancelled = true; item.abort?.(); finish(item, "Cancelled."); });
    $("uploads").append(row);
    waiting.push(item);
  }
  $("upload-status").textContent = `${plural(files.length, "video")} added to the uploads.`;
  next();
}

function next() {
  while (active < AT_ONCE && waiting.length) {
    const item = waiting.shift();
    if (!item.isCancelled) send(item);
  }
}

async function send(item) {
  active += 1;
  item.note.textContent = "Uploading";
  try {
    const answer = await upload(item.file, (share) => {
      item.progress.value = share;
      item.note.textContent = share < 1 ? `${Math.floor(share * 100)} % sent` : "Checking the file …";
    }, (abort) => { item.abort = abort; });
    if (answer.is_duplicate) {
      finish(item, "Already here: the same content was uploaded before.");
    } else {
      item.row.remove();
      $("upload-status").textContent = `${item.file.name} is uploaded and will be searchable soon.`;
    }
    onAccepted();
  } catch (error) {
    if (!item.isCancelled) finish(item, error.message, true);
  } finally {
    active -= 1;
    next();
  }
}

function finish(item, text, isError = false) {
  item.progress.remove();
  item.note.textContent = text;
  item.note.className = isError ? "error" : "quiet";
  if (isError) item.note.setAttribute("role", "alert");
  const dismiss = element("button", { className: "plain small", type: "button", onclick: () => item.row.remove() }, "Dismiss");
  item.cancel.replaceWith(dismiss);
}

export function startUploads(accepted) {
  onAccepted = accepted;
  $("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
  const drop = $("drop");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    drop.classList.remove("over");
    if (drop.checkVisibility()) add([...event.dataTransfer.files]);
  });
  window.addEventListener("beforeunload", (event) => { if (active) event.preventDefault(); });
}
