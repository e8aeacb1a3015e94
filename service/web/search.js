// The search box, its filters and the moments found.
import { call } from "./api.js";
import { $, clock, element, plural, splitTags } from "./dom.js";
import { offerExplanation } from "./explain.js";
import { feedbackOf, stopChoosing } from "./feedback.js";
import { spanPlayer } from "./player.js";

let running = null;
let asked = null;
let shown = 0;

function requestOf(form) {
  const fields = new FormData(form);
  const number = (name) => (fields.get(name) === "" ? undefined : Number(fields.get(name)));
  const day = (name) => (fields.get(name) ? new Date(`${fields.get(name)}T00:00`).toISOString() : undefined);
  const filter = {
    tags: splitTags(fields.get("tags")),
    min_duration_s: number("min_duration_s"),
    max_duration_s: number("max_duration_s"),
    created_after: day("created_after"),
    created_before: day("created_before"),
  };
  if (!filter.tags.length) delete filter.tags;
  const request = { text: fields.get("text").trim(), limit: 12, filter };
  if (fields.get("by_video")) request.group_by = "video";
  return request;
}

async function ask(request, { isMore }) {
  running?.abort();
  running = new AbortController();
  const mine = running;
  $("search-error").textContent = "";
  $("search-status").textContent = "Searching …";
  $("show-closest").hidden = true;
  stopChoosing();
  $("moments").setAttribute("aria-busy", "true"); // the button stays usable: a new search replaces this one
  try {
    const answer = await call("POST", "/v1/search", request, { signal: mine.signal });
    if (mine !== running) return;
    if (!isMore) {
      $("moments").replaceChildren();
      shown = 0;
    }
    show(answer, isMore);
  } catch (error) {
    if (error.name === "AbortError") return;
    $("search-status").textContent = "";
    $("search-error").textContent = error.message;
  } finally {
    if (mine === running) $("moments").removeAttribute("aria-busy");
  }
}

function show(answer, isMore) {
  const cards = answer.moments.map((moment) => card(moment, { text: asked.text, receipt: answer.receipt }));
  $("moments").append(...cards);
  shown += cards.length;
  asked.cursor = answer.next_cursor;
  $("more-moments").hidden = !answer.next_cursor;
  const isNoise = answer.confidence === "none";
  $("show-closest").hidden = !isNoise || shown > 0;
  const degraded = answer.degraded ? " Time ran out before all could be looked at closely." : "";
  $("search-status").textContent = isNoise
    ? `No confident match for “${asked.text}”.${shown ? " These are the closest moments." : ""}`
    : shown
    ? `${plural(shown, "moment")} for “${asked.text}”, best first.${degraded}`
    : "Nothing found. Upload a video first, wait until yours are processed, or loosen the filters.";
  if (!isMore) offerExplanation(asked);
  if (isMore) cards[0]?.querySelector("button")?.focus();
}

function card(moment, asking) {
  const span = `${clock(moment.start_s)}–${clock(moment.end_s)}`;
  const label = `Play ${span} of ${moment.title}`;
  const frame = element("button", { className: "frame", type: "button", "aria-label": label },
    element("img", { src: moment.thumbnail_url, alt: "", loading: "lazy" }),
    element("span", { className: "play", "aria-hidden": "true" }, `▶ ${span}`));
  frame.addEventListener("click", () => {
    const video = spanPlayer(moment.media_url, moment.start_s, moment.end_s, label);
    frame.replaceWith(element("div", { className: "frame" }, video));
    video.focus();
  });
  const about = element("div", { className: "about" }, element("h3", {}, moment.title), scores(moment));
  const article = element("article", { className: "card moment", "data-video": moment.video_id }, frame, about);
  about.append(feedbackOf(moment, { ...asking, article }));
  return element("li", {}, article);
}

function scores(moment) {
  const rows = element("dl");
  if (moment.match_probability !== null) {
    rows.append(...row("Match", moment.match_probability, `${Math.round(moment.match_probability * 100)} %`));
  }
  rows.append(...row("Similarity", Math.max(0, moment.similarity), moment.similarity.toFixed(2)));
  rows.append(element("dt", {}, "Place"),
    element("dd", {}, `${moment.rank}`, moment.retrieval_rank === moment.rank ? "" : ` (${moment.retrieval_rank} before re-ranking)`));
  return rows;
}

function row(name, value, text) {
  return [element("dt", {}, name), element("dd", {}, element("meter", { min: 0, max: 1, value, "aria-label": name, textContent: text })),
    element("dd", {}, text)];
}

export function startSearch() {
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    asked = requestOf(event.target);
    if (!asked.text) return;
    history.replaceState(null, "", `?q=${encodeURIComponent(asked.text)}`);
    ask(asked, { isMore: false });
  });
  $("show-closest").addEventListener("click", () => {
    asked.include_unsure = true;
    ask(asked, { isMore: false });
  });
  $("more-moments").addEventListener("click", () => ask(asked, { isMore: true }));
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, dialog[open]");
    const isShown = $("query").checkVisibility();
    if (event.key === "/" && isShown && !isTyping && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      $("query").focus();
    }
  });
}

/** Ask again what the address names, as after a reload. */
export function searchFromAddress() {
  const text = new URLSearchParams(location.search).get("q");
  if (!text) return;
  $("query").value = text;
  $("search-form").requestSubmit();
}
