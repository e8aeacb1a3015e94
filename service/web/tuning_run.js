// One tuning run, live: stage, time left, losses, notices; then its report.
import { call } from "./api.js";
import { $, action, element, when } from "./dom.js";
import { isOpen, progressOf, stateWord } from "./jobs.js";
import { legend, linePlot, smoothed } from "./plot.js";
import { reportOf } from "./report.js";
import { follow } from "./stream.js";

export const STAGES = { preparing: "Preparing", training: "Training", evaluating: "Comparing", registering: "Registering" };
const SMOOTH_FROM = 30;
const DRAW_MS = 250;
let stop = () => {};
let shown = null; // {id, points, notices, run, parts}
let drawing = 0;

/** Show a run and follow it until it ends. */
export async function showRun(id) {
  hideRun();
  const parts = Object.fromEntries(["head", "state", "plot", "notices", "report"].map((name) => [name, element("div", { className: `run-${name}` })]));
  const mine = { id, points: [], notices: [], run: null, parts };
  shown = mine;
  $("tuning-run").replaceChildren(element("p", {}, element("a", { href: "#/tuning" }, "← All runs")), ...Object.values(parts));
  parts.head.replaceChildren(element("h2", { tabIndex: -1 }, "Tuning run"));
  try {
    await read(mine);
  } catch (error) {
    parts.state.replaceChildren(element("p", { className: "error", role: "alert" }, error.message));
    return;
  }
  if (mine !== shown || !isOpen(mine.run)) return;
  const last = mine.points.at(-1)?.step ?? 0;
  stop = follow(`/v1/tunings/${id}/events?after_step=${last}`, {
    progress: (run) => progressed(mine, run),
    point: (point) => pointed(mine, point),
    notice: (notice) => noticed(mine, notice),
    end: () => read(mine).catch((error) => tell(mine, error.message)),
  }, async () => !isOpen(await read(mine)));
}

export function hideRun() {
  stop();
  stop = () => {};
  shown = null;
}

async function read(mine) {
  const [run, curve] = await Promise.all([call("GET", `/v1/tunings/${mine.id}`), call("GET", `/v1/tunings/${mine.id}/points`)]);
  if (mine !== shown) return run;
  mine.points = curve.points;
  mine.notices = curve.notices;
  progressed(mine, run);
  drawPlot(mine);
  drawNotices(mine);
  if (run.report) mine.parts.report.replaceChildren(reportOf(run.report, run, titles));
  return run;
}

/** The titles of videos by id, as far as they can be had. */
async function titles(ids) {
  const found = await Promise.all([...new Set(ids)].map((id) => call("GET", `/v1/videos/${id}`).catch(() => null)));
  return new Map(found.filter(Boolean).map((video) => [video.id, video.title]));
}

function progressed(mine, run) {
  if (mine !== shown) return;
  mine.run = { ...mine.run, ...run };
  const { parts } = mine;
  const name = run.candidate_version?.name ?? `${run.base_version.name}, tuned`;
  parts.head.querySelector("h2").textContent = name;
  const hadFocus = parts.state.contains(document.activeElement);
  const state = isOpen(run) ? [progressOf(run, STAGES, `Tuning of ${run.base_version.name}`), cancelButton(mine)] : [stateWord(run)];
  parts.state.replaceChildren(
    element("p", { className: "quiet" }, "from ", run.base_version.name, " · asked for ", when(run.created_at)), ...state,
    run.detail ? element("p", { className: run.state === "failed" ? "error" : "quiet" }, run.detail) : "");
  if (hadFocus) (parts.state.querySelector("button") ?? parts.head.querySelector("h2")).focus();
}

function cancelButton(mine) {
  return action("Cancel this run", async () => progressed(mine, await call("POST", `/v1/tunings/${mine.id}/cancel`)),
    { say: (text) => tell(mine, text) });
}

function tell(mine, text) {
  if (mine !== shown || !text) return;
  mine.parts.state.append(element("p", { className: "error", role: "alert" }, text));
}

function pointed(mine, point) {
  if (mine !== shown) return;
  if (point.step <= (mine.points.at(-1)?.step ?? 0)) return;
  mine.points.push(point);
  if (mine.run) mine.run.eta_s = point.eta_s;
  if (!drawing) {
    drawing = setTimeout(() => {
      drawing = 0;
      if (mine === shown) drawPlot(mine);
    }, DRAW_MS);
  }
}

function noticed(mine, notice) {
  if (mine !== shown || mine.notices.some((each) => each.at === notice.at && each.text === notice.text)) return;
  mine.notices.push(notice);
  drawNotices(mine);
}

function drawPlot({ points, parts }) {
  if (!points.length) return;
  const loss = points.map((point) => ({ x: point.step, y: point.loss }));
  const lines = [{ name: "loss", points: loss }];
  if (loss.length >= SMOOTH_FROM) lines.push({ name: "mean of the last steps", points: smoothed(loss, Math.ceil(loss.length / 15)) });
  const first = points[0];
  const last = points.at(-1);
  const label = `Loss: ${first.loss.toFixed(3)} at step ${first.step}, ${last.loss.toFixed(3)} at step ${last.step}`;
  const losses = Object.entries(last.losses).map(([name, value]) => `${name} ${value.toFixed(3)}`).join(" · ");
  parts.plot.replaceChildren(element("figure", {},
    linePlot({ label, lines, xLabel: "steps" }), lines.length > 1 ? legend(lines.map((line) => line.name)) : "",
    element("figcaption", { className: "quiet" },
      `Step ${last.step.toLocaleString()}: loss ${last.loss.toFixed(3)} (${losses}) · ${last.pairs_per_s.toFixed(1)} pairs a second`)));
}

function drawNotices({ notices, parts }) {
  parts.notices.replaceChildren(...(notices.length
    ? [element("h3", {}, "Notices"), element("ul", {}, ...notices.map((notice) => element("li", {}, when(notice.at), " ", notice.text)))]
    : []));
}
