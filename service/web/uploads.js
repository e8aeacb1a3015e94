// Upload by drag and drop or file dialog: two at a time, each in a row that says how far it is.
import { $, action, element, lasting, plural, size } from "./dom.js";
import { hold, isKept, unfinishedUploads } from "./kept.js";
import { Transfer } from "./transfer.js";

const AT_ONCE = 2;
const BUSY = ["sending", "checking", "held"];
const rows = new Map(); // transfer -> {node, note, progress, buttons, phase}
let active = 0;
let onAccepted = () => {};

/** Take files; one that was stopped in the middle goes on there. */
function add(files) {
  for (const file of files) {
    const stopped = [...rows.keys()].find((each) => each.phase === "stopped" && each.isOf(file));
    if (stopped) stopped.queue(file);
    else show(new Transfer({ name: file.name, size: file.size, lastModified: file.lastModified, file }, changed));
  }
  announce(`${plural(files.length, "video")} added to the uploads.`);
  next();
}

function announce(text) {
  $("upload-status").textContent = text;
}

function next() {
  for (const transfer of rows.keys()) {
    if (active >= AT_ONCE) return;
    if (transfer.phase === "waiting") run(transfer);
  }
}

async function run(transfer) {
  active += 1;
  try {
    await transfer.run();
  } finally {
    active -= 1;
    next();
  }
}

function show(transfer) {
  const progress = element("progress", { max: transfer.size || 1, value: 0, "aria-label": `Upload of ${transfer.name}` });
  const note = element("p", { className: "quiet" });
  const buttons = element("span", { className: "actions" });
  const node = element("li", {}, element("div", { className: "upload-head" }, element("strong", {}, transfer.name), buttons), progress, note);
  rows.set(transfer, { node, note, progress, buttons, phase: null });
  $("uploads").append(node);
  changed(transfer);
}

function remove(transfer) {
  rows.get(transfer)?.node.remove();
  rows.delete(transfer);
}

/** Bring a row up to date; buttons only when the phase changed, so that they can be pressed. */
function changed(transfer) {
  const row = rows.get(transfer);
  if (!row) return;
  row.progress.value = transfer.sent;
  row.note.textContent = sentence(transfer);
  if (row.phase === transfer.phase) return;
  row.phase = transfer.phase;
  const isError = transfer.phase === "failed";
  row.node.dataset.phase = transfer.phase;
  row.note.className = isError ? "error" : transfer.phase === "held" ? "warning" : "quiet";
  if (isError) row.note.setAttribute("role", "alert");
  else row.note.removeAttribute("role");
  row.progress.hidden = transfer.isOver;
  const hadFocus = row.buttons.contains(document.activeElement);
  row.buttons.replaceChildren(...buttonsOf(transfer));
  if (hadFocus) row.buttons.querySelector("button")?.focus();
  if (transfer.phase === "held") announce(`${transfer.name}: ${row.note.textContent}`);
  if (transfer.phase === "done") finished(transfer);
}

function finished(transfer) {
  if (!transfer.isDuplicate) {
    announce(`${transfer.name} is uploaded and will be searchable soon.`);
    remove(transfer);
  }
  onAccepted();
}

function sentence(transfer) {
  const share = `${size(transfer.sent)} of ${size(transfer.size)}`;
  switch (transfer.phase) {
    case "waiting": return transfer.sent ? `${share} sent. It goes on in its turn.` : `${size(transfer.size)}, waiting for its turn`;
    case "sending": return [`${share} sent`, ...pace(transfer)].join(" · ");
    case "checking": return "All sent. The file is being checked …";
    case "held": return `${transfer.error.message} ${goesOn(transfer)}`;
    case "paused": return `Paused at ${share}.`;
    case "stopped": return `Not finished: ${share} sent. Choose the same file again, and it goes on there.`;
    case "failed": return transfer.error.message;
    case "cancelled": return "Cancelled.";
    default: return "Already here: the same content was uploaded before.";
  }
}

function pace({ rate, sent, size: total }) {
  return rate ? [`${size(rate)} a second`, `${lasting((total - sent) / rate)} left`] : [];
}

function goesOn({ waitS }) {
  return waitS === Infinity ? "It goes on when you have signed in." : `It goes on by itself in ${lasting(waitS)}.`;
}

function buttonsOf(transfer) {
  const { name } = transfer;
  const button = (text, act, label) => action(text, act, { "aria-label": `${label ?? text}: ${name}` });
  const found = [];
  if (transfer.phase === "held") found.push(button("Try now", () => transfer.hurry()));
  if (transfer.phase === "waiting" || BUSY.includes(transfer.phase)) found.push(button("Pause", () => transfer.pause()));
  if (transfer.phase === "paused") found.push(button("Go on", () => again(transfer)));
  if (transfer.phase === "stopped") found.push(button("Choose it", () => $("files").click(), "Choose the file"));
  if (transfer.mayRetry) found.push(button("Try again", () => again(transfer)));
  found.push(transfer.isOver ? button("Dismiss", () => dismiss(transfer)) : button("Cancel", () => transfer.cancel()));
  return found;
}

function again(transfer) {
  transfer.queue();
  next();
}

/** What failed but could have gone on is given up for good. */
async function dismiss(transfer) {
  remove(transfer);
  if (transfer.phase === "failed") await transfer.cancel();
}

/** Go on with what a reload, a closed window or a signing out has left. */
export async function resumeUploads() {
  for (const transfer of rows.keys()) transfer.hurry();
  for (const record of await unfinishedUploads()) {
    const isShown = [...rows.keys()].some((each) => each.address === record.address);
    if (!isShown && await hold(record.address)) show(new Transfer(record, changed));
  }
  next();
}

/** Nobody is to find files in this browser after signing out. */
export async function cancelUploads() {
  const open = [...rows.keys()].filter((transfer) => !transfer.isOver || transfer.mayRetry);
  await Promise.all(open.map((transfer) => transfer.cancel()));
  rows.clear();
  $("uploads").replaceChildren();
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
  window.addEventListener("beforeunload", (event) => {
    const isLost = [...rows.keys()].some((each) => each.file && !each.isOver && !isKept(each.address));
    if (isLost) event.preventDefault(); // it would have to be chosen again
  });
}
