// Why is this video missing? Asks for one video where it stands in the search that was just made.
import { call, collect } from "./api.js";
import { $, clock, element, plural, table } from "./dom.js";
import { bars } from "./plot.js";

const FILTERS = {
  tags: "its tags", video_ids: "the videos asked for", created_after: "uploaded since", created_before: "uploaded before",
  min_duration_s: "its shortest length", max_duration_s: "its longest length",
};
let asked = null;

/** Offer the question for this search. */
export function offerExplanation(request) {
  asked = request;
  $("missing").hidden = false;
  $("explanation").replaceChildren();
}

async function fillVideos() {
  const list = $("missing-video");
  const before = list.value;
  const { items, hasMore } = await collect("/v1/videos", "videos");
  items.sort((one, other) => one.title.localeCompare(other.title, undefined, { numeric: true }));
  list.replaceChildren(element("option", { value: "" }, hasMore ? "Choose one of the newest 1,000 …" : "Choose a video …"),
    ...items.map((video) => element("option", { value: video.id }, video.title)));
  list.value = items.some((video) => video.id === before) ? before : "";
}

async function explain() {
  const video_id = $("missing-video").value;
  const out = $("explanation");
  if (!video_id || !asked) return;
  out.replaceChildren(element("p", {}, "Looking …"));
  const { text, filter, group_by, include_unsure } = asked;
  try {
    out.replaceChildren(...told(await call("POST", "/v1/search/explain", { text, video_id, filter, group_by, include_unsure })));
  } catch (error) {
    out.replaceChildren(element("p", { className: "error" }, error.message));
  }
}

function told(answer) {
  const parts = [element("h3", {}, answer.video.title), element("p", {}, answer.why)];
  if (answer.filters.length) {
    parts.push(element("ul", {}, ...answer.filters.map((each) =>
      element("li", {}, `${each.passes ? "Passes" : "Fails"} the filter: ${FILTERS[each.name] ?? each.name}`))));
  }
  if (answer.best_segment) parts.push(standing(answer.best_segment));
  if (answer.frames.length) parts.push(frames(answer.frames));
  parts.push(element("p", { className: "quiet" }, `Searched with ${answer.generation.model_name}.`));
  return parts;
}

function standing(best) {
  const lines = [
    ["Best moment", `${clock(best.start_s)}–${clock(best.end_s)}`],
    ["Similarity", best.similarity.toFixed(3)],
    best.similarity_needed === null ? null : ["Similarity it would need", best.similarity_needed.toFixed(3)],
    ["Place by similarity", best.rank_by_similarity.toLocaleString()],
    best.match_probability === null ? null : ["Match", `${(best.match_probability * 100).toFixed(1)} %`],
    ["Place in the answer", best.rank === null ? "none" : best.rank.toLocaleString()],
  ];
  return table("Where it stands", [], lines.filter(Boolean));
}

function frames(list) {
  const values = list.map((frame) => ({
    value: frame.similarity, note: `${frame.time_s.toFixed(1)} s: similarity ${frame.similarity.toFixed(3)}`,
  }));
  const all = list.map((frame) => frame.similarity);
  const best = list[all.indexOf(Math.max(...all))];
  const label = `Similarity of each of ${plural(list.length, "frame")}; ${values.map((each) => each.note).join("; ")}`;
  const low = Math.min(0, ...all);
  return element("figure", {}, bars(label, values, [low, Math.max(...all, low + 0.01)]),
    element("figcaption", { className: "quiet" },
      `Similarity of each frame alone. The best is at ${best.time_s.toFixed(1)} s (${best.similarity.toFixed(3)}).`));
}

export function startExplain() {
  $("missing").addEventListener("toggle", () => {
    if ($("missing").open) fillVideos().catch((error) => $("explanation").replaceChildren(error.message));
  });
  $("missing-form").addEventListener("submit", (event) => {
    event.preventDefault();
    explain();
  });
}
