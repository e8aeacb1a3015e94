// The place Tuning: what there is to learn from, start a run, all runs. One run is shown by tuning_run.js.
import { call, collect } from "./api.js";
import { captionExports, captionImport } from "./caption_files.js";
import { $, action, element, lasting, plural, size, table, when } from "./dom.js";
import { isOpen, progressOf, stateWord } from "./jobs.js";
import { hideRun, showRun, STAGES } from "./tuning_run.js";

const POLL_MS = 3000;
const MOST_COUNTED = 1000;
let timer = 0;
let visit = 0;

export function enterTuning(tuningId) {
  visit += 1;
  $("tuning-all").hidden = Boolean(tuningId);
  $("tuning-run").hidden = !tuningId;
  if (tuningId) {
    showRun(tuningId);
    return;
  }
  $("tuning-files").replaceChildren(captionImport({ id: "captions-file", onImported: count }), captionExports());
  $("tuning-plan").replaceChildren();
  $("tuning-error").textContent = "";
  count();
  fillModels();
  refreshRuns();
}

export function leaveTuning() {
  visit += 1;
  clearTimeout(timer);
  hideRun();
}

async function count() {
  const mine = visit;
  const out = $("tuning-counts");
  try {
    const [captions, feedback] = await Promise.all([
      collect("/v1/captions", "captions", MOST_COUNTED), collect("/v1/feedback", "feedback", MOST_COUNTED)]);
    if (mine !== visit) return;
    const videos = new Set(captions.items.map((caption) => caption.video_id)).size;
    const more = (list) => (list.hasMore ? "more than " : "");
    out.textContent = captions.items.length
      ? `There are ${more(captions)}${plural(captions.items.length, "caption")} of ${plural(videos, "video")}, and what you said of `
        + `${more(feedback)}${plural(feedback.items.length, "hit")}.`
      : "There are no captions yet. Add some to your videos (Captions, in the list of videos), or import a file.";
  } catch (error) {
    out.textContent = error.message;
  }
}

async function fillModels() {
  const list = $("tuning-form").elements.model_id;
  try {
    const { models } = await call("GET", "/v1/models");
    const before = list.value;
    list.replaceChildren(element("option", { value: "" }, "what is searched now"),
      ...models.map((each) => element("option", { value: each.id }, each.name)));
    list.value = models.some((each) => each.id === before) ? before : "";
  } catch (error) {
    $("tuning-error").textContent = error.message;
  }
}

function requestOf(form) {
  const fields = new FormData(form);
  const request = {};
  for (const name of ["model_id", "name", "recipe", "hold_out", "policy"]) {
    if (fields.get(name)) request[name] = fields.get(name);
  }
  for (const name of ["steps", "batch", "learning_rate", "seed"]) {
    if (fields.get(name)) request[name] = Number(fields.get(name));
  }
  if (fields.get("held_out_percent")) request.held_out_share = Number(fields.get("held_out_percent")) / 100;
  return request;
}

async function lookAhead() {
  const request = requestOf($("tuning-form"));
  const mine = visit;
  $("tuning-plan").replaceChildren(element("p", {}, "Trying one step …"));
  try {
    const plan = await call("POST", "/v1/tunings", { ...request, dry_run: true });
    if (mine === visit) $("tuning-plan").replaceChildren(...planned(plan, request));
  } catch (error) {
    $("tuning-plan").replaceChildren();
    throw error;
  }
}

function planned(plan, request) {
  const { train, held_out: heldOut, videos_train: trained, videos_held_out: kept } = plan.pairs;
  const lines = [
    ["Learns from", `${plural(train, "pair")} of ${plural(trained, "video")}`],
    ["Is judged on", `${plural(heldOut, "pair")} of ${plural(kept, "video")}, held out`],
    ["Steps", `${plan.steps.toLocaleString()}, ${plan.batch} pairs each`],
    ["Time", `${lasting(plan.estimated_s)}, after ${lasting(plan.decode_s)} of decoding`],
    ["Memory", size(plan.estimated_memory_bytes)],
  ];
  const start = action("Start this run", () => begin(request), { className: "", say });
  return [element("h3", {}, "What would happen"), table("What would happen", [], lines),
    ...plan.warnings.map((warning) => element("p", { className: "warning" }, warning)), start];
}

async function begin(request) {
  const made = await call("POST", "/v1/tunings", request);
  location.hash = `#/tuning/${made.id}`;
}

function say(text) {
  $("tuning-error").textContent = text;
}

async function refreshRuns() {
  clearTimeout(timer);
  const mine = visit;
  let isBusy = true;
  try {
    const { tunings } = await call("GET", "/v1/tunings?limit=50");
    if (mine !== visit) return;
    drawRuns(tunings);
    isBusy = tunings.some(isOpen);
  } catch (error) {
    if (mine !== visit || error.status === 401) return;
    say(error.message);
  }
  timer = setTimeout(refreshRuns, isBusy ? POLL_MS : POLL_MS * 5);
}

function drawRuns(tunings) {
  const focused = document.activeElement?.dataset?.run;
  $("tunings").replaceChildren(...tunings.map(runLine));
  $("no-tunings").hidden = tunings.length > 0;
  if (focused) $("tunings").querySelector(`[data-run="${focused}"]`)?.focus();
}

function runLine(run) {
  const name = run.candidate_version ? run.candidate_version.name : `${run.base_version.name}, tuned`;
  return element("li", {},
    element("a", { href: `#/tuning/${run.id}`, "data-run": run.id }, name), " ", isOpen(run) ? null : stateWord(run, STAGES),
    element("p", { className: "quiet" }, "from ", run.base_version.name, " · ", when(run.created_at)),
    isOpen(run) ? progressOf(run, STAGES, `Tuning of ${run.base_version.name}`) : null,
    run.detail ? element("p", { className: run.state === "failed" ? "error" : "quiet" }, run.detail) : null);
}

export function startTuning() {
  const form = $("tuning-form");
  form.addEventListener("submit", (event) => event.preventDefault());
  $("tuning-buttons").append(
    action("What would happen?", lookAhead, { className: "", id: "tuning-ahead", say }),
    action("Start", () => begin(requestOf(form)), { className: "plain", id: "tuning-start", say }));
}
