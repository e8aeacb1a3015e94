// The list of videos with their state; it refreshes itself while something is being processed.
import { call } from "./api.js";
import { openCaptions } from "./captions.js";
import { confirmed } from "./confirm.js";
import { $, clock, element, plural, splitTags } from "./dom.js";

const PAGE = 50;
const POLL_MS = 1500;
const STATE_WORDS = {
  queued: "Waiting", processing: "Processing", ready: "Searchable", partial: "Partly searchable", failed: "Failed",
};
const rows = new Map(); // id -> {key, node}
let pages = 1;
let timer = 0;
let newest = 0;

/** Load the pages shown so far again and bring the list up to date. */
export async function refreshVideos() {
  clearTimeout(timer);
  const mine = ++newest;
  let isBusy = false;
  try {
    const videos = [];
    let cursor = null;
    for (let page = 0; page < pages; page += 1) {
      const answer = await call("GET", address(cursor));
      videos.push(...answer.videos);
      cursor = answer.next_cursor;
      if (!cursor) break;
    }
    if (mine !== newest) return;
    draw(videos, Boolean(cursor));
    isBusy = videos.some((video) => ["queued", "processing"].includes(video.state));
  } catch (error) {
    if (error.status === 401 || mine !== newest) return;
    $("video-count").textContent = error.message;
    isBusy = true;
  }
  timer = setTimeout(refreshVideos, isBusy ? POLL_MS : POLL_MS * 10);
}

export function stopVideos() {
  clearTimeout(timer);
  newest += 1;
}

function address(cursor) {
  const query = new URLSearchParams({ limit: PAGE });
  if ($("state-filter").value) query.set("state", $("state-filter").value);
  if (cursor) query.set("cursor", cursor);
  return `/v1/videos?${query}`;
}

function draw(videos, hasMore) {
  const list = $("videos");
  const before = keysShown();
  const ids = new Set(videos.map((video) => video.id));
  for (const [id, row] of rows) {
    if (!ids.has(id)) {
      row.node.remove();
      rows.delete(id);
    }
  }
  videos.forEach((video, place) => {
    const node = rowOf(video);
    if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
  });
  $("more-videos").hidden = !hasMore;
  $("no-videos").hidden = videos.length > 0 || $("state-filter").value !== "";
  $("video-count").textContent = `${plural(videos.length, "video")}${hasMore ? " shown, there are more" : ""}`;
  if (keysShown() !== before) window.dispatchEvent(new Event("videos-changed"));
}

function keysShown() {
  return [...rows.values()].map((row) => row.key).join();
}

/** Return the row of a video, made anew only when something in it changed (focus and players stay). */
function rowOf(video) {
  const key = JSON.stringify([video.title, video.tags, video.state, video.percent, video.detail, video.version]);
  const old = rows.get(video.id);
  if (old?.key === key) return old.node;
  const node = old?.node ?? element("li");
  const hadFocus = node.contains(document.activeElement) ? document.activeElement.dataset.action : null;
  node.replaceChildren(article(video, node));
  if (hadFocus) node.querySelector(`[data-action=${hadFocus}]`)?.focus();
  rows.set(video.id, { key, node });
  return node;
}

function article(video, node) {
  const isWatchable = ["ready", "partial"].includes(video.state);
  const still = isWatchable && video.links.thumbnail
    ? element("img", { className: "still", src: video.links.thumbnail, alt: "", loading: "lazy" })
    : element("span", { className: "still" });
  const about = element("div", {}, element("h3", {}, video.title), stateLine(video),
    ...video.tags.map((tag) => element("span", { className: "tag" }, tag)));
  const button = (action, text, act) => element("button", {
    className: "plain small", type: "button", "data-action": action, "aria-label": `${text} ${video.title}`, onclick: act,
  }, text);
  const actions = element("div", { className: "actions" },
    isWatchable ? button("watch", "Watch", () => watch(video, node)) : null,
    button("captions", "Captions", () => openCaptions(video)),
    button("edit", "Edit", () => edit(video)),
    button("delete", "Delete", () => remove(video)));
  return element("article", { className: "video" }, still, about, actions);
}

function stateLine(video) {
  const facts = [video.duration_s !== null ? clock(video.duration_s) : null, video.width ? `${video.width} × ${video.height}` : null,
    video.num_segments ? plural(video.num_segments, "segment") : null].filter(Boolean).join(" · ");
  const isWorking = video.state === "processing";
  const word = STATE_WORDS[video.state] ?? video.state;
  const line = element("p", { className: "quiet" },
    element("span", { className: "state", "data-state": video.state }, isWorking ? `${word} ${Math.floor(video.percent ?? 0)} %` : word),
    facts ? ` · ${facts}` : "");
  const whole = element("div", {}, line);
  if (isWorking) whole.append(element("progress", { max: 100, value: video.percent ?? 0, "aria-label": `Processing of ${video.title}` }));
  if (video.detail) whole.append(element("p", { className: video.state === "failed" ? "error" : "quiet" }, video.detail));
  return whole;
}

function watch(video, node) {
  const open = node.querySelector("video.player");
  if (open) return open.remove();
  const player = element("video", { className: "player", controls: true, autoplay: true, playsInline: true, src: video.links.content, "aria-label": video.title });
  node.querySelector("article").append(player);
  player.focus();
  return undefined;
}

function edit(video) {
  const form = $("edit-form");
  form.elements.title.value = video.title;
  form.elements.tags.value = video.tags.join(", ");
  $("edit-error").textContent = "";
  form.onsubmit = async (event) => {
    if (event.submitter?.value !== "save") return;
    event.preventDefault();
    try {
      await call("PATCH", `/v1/videos/${video.id}`, { title: form.elements.title.value, tags: splitTags(form.elements.tags.value) });
      $("edit").close();
      refreshVideos();
    } catch (error) {
      $("edit-error").textContent = error.message;
    }
  };
  $("edit").showModal();
}

async function remove(video) {
  const text = `“${video.title}” and everything found in it will be gone for good.`;
  if (!await confirmed({ title: "Delete this video?", text, yes: "Delete" })) return;
  try {
    await call("DELETE", `/v1/videos/${video.id}`);
  } catch (error) {
    $("video-count").textContent = error.message;
  }
  document.querySelectorAll(`#moments [data-video="${CSS.escape(video.id)}"]`).forEach((card) => card.closest("li").remove());
  refreshVideos();
}

export function startVideos() {
  $("more-videos").addEventListener("click", () => { pages += 1; refreshVideos(); });
  $("state-filter").addEventListener("change", () => { pages = 1; refreshVideos(); });
}
