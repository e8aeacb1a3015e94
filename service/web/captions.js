// The captions of one video, in a dialog: what happens in it, which tunings learn from.
import { call } from "./api.js";
import { captionExports, captionImport } from "./caption_files.js";
import { $, action, clock, element } from "./dom.js";

const PAGE = 50;
let shown = null; // the video
let cursor = null;
let player = null;

/** Open the captions of a video. */
export function openCaptions(video) {
  shown = video;
  $("captions-title").textContent = `Captions of ${video.title}`;
  $("caption-form").reset();
  $("caption-error").textContent = "";
  const isWatchable = ["ready", "partial"].includes(video.state);
  player = isWatchable
    ? element("video", { className: "player", controls: true, playsInline: true, preload: "metadata", src: video.links.content, "aria-label": video.title })
    : null;
  $("caption-player").replaceChildren(...(player ? [player] : []));
  for (const button of $("caption-form").querySelectorAll("[data-take]")) button.hidden = !isWatchable;
  $("caption-files").replaceChildren(
    captionImport({ id: "caption-file", videoId: () => shown.id, onImported: refresh }), captionExports(video.id));
  $("caption-list").replaceChildren();
  $("captions").showModal();
  $("caption-form").elements.text.focus();
  refresh();
}

async function refresh() {
  cursor = null;
  await load({ isMore: false });
}

async function load({ isMore }) {
  const video = shown;
  const query = new URLSearchParams({ limit: PAGE, ...(isMore && cursor ? { cursor } : {}) });
  try {
    const page = await call("GET", `/v1/videos/${video.id}/captions?${query}`);
    if (video !== shown) return;
    if (!isMore) $("caption-list").replaceChildren();
    $("caption-list").append(...page.captions.map(line));
    cursor = page.next_cursor;
    $("more-captions").hidden = !cursor;
    $("no-captions").hidden = $("caption-list").children.length > 0;
  } catch (error) {
    $("caption-error").textContent = error.message;
  }
}

function line(caption) {
  const span = caption.start_s === null ? "whole video" : `${clock(caption.start_s)}–${clock(caption.end_s)}`;
  const row = element("li", {},
    element("span", { className: "words" }, caption.text), element("span", { className: "quiet" }, span),
    action("Delete", async () => {
      await call("DELETE", `/v1/captions/${caption.id}`);
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      $("no-captions").hidden = $("caption-list").children.length > 0;
      (next?.querySelector("button") ?? $("caption-form").elements.text).focus();
    }, { say, "aria-label": `Delete caption ${caption.text}` }));
  return row;
}

function say(text) {
  $("caption-error").textContent = text;
}

async function add(form) {
  const fields = new FormData(form);
  const seconds = (name) => (fields.get(name) === "" ? undefined : Number(fields.get(name)));
  say("");
  try {
    await call("POST", `/v1/videos/${shown.id}/captions`, { text: fields.get("text"), start_s: seconds("start_s"), end_s: seconds("end_s") });
    form.reset();
    await refresh();
  } catch (error) {
    say(error.message);
  }
  form.elements.text.focus();
}

export function startCaptions() {
  $("caption-form").addEventListener("submit", (event) => {
    event.preventDefault();
    add(event.target);
  });
  $("caption-form").addEventListener("click", (event) => {
    const name = event.target.dataset.take;
    if (name && player) $("caption-form").elements[name].value = player.currentTime.toFixed(1);
  });
  $("more-captions").addEventListener("click", () => load({ isMore: true }));
  $("captions-close").addEventListener("click", () => $("captions").close());
  $("captions").addEventListener("close", () => {
    $("caption-player").replaceChildren(); // stops the video
    shown = null;
  });
}
