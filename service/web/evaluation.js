// The place Evaluation: sets of queries with known answers, run them, and how they did over time.
import { call } from "./api.js";
import { $, action, element, plural, table, when } from "./dom.js";
import { isOpen, progressOf, stateWord } from "./jobs.js";
import { legend, linePlot } from "./plot.js";
import { follow } from "./stream.js";

const METRICS = ["R@1", "R@5", "R@10", "MdR", "nDCG@10"];
const STREAMS = { reranked: "re-ranked", dual_stream: "by similarity" };
const TRIGGERS = { person: "by hand", command: "by a command", switch: "after a switch" };
const FORMATS = ["csv", "jsonl"];
const LONGEST_NAME = 14;
let stop = () => {};
let visit = 0;

export function enterEvaluation(setId) {
  visit += 1;
  $("sets-all").hidden = Boolean(setId);
  $("set").hidden = !setId;
  $("evaluation-error").textContent = "";
  $("set").replaceChildren();
  if (setId) showSet(setId);
  else showSets();
}

export function leaveEvaluation() {
  visit += 1;
  stop();
  stop = () => {};
}

function say(text) {
  $("evaluation-error").textContent = text;
}

async function showSets() {
  const mine = visit;
  try {
    const { sets } = await call("GET", "/v1/evaluation-sets");
    if (mine !== visit) return;
    $("sets").replaceChildren(...sets.map(setLine));
    $("no-sets").hidden = sets.length > 0;
  } catch (error) {
    say(error.message);
  }
}

function setLine(set) {
  const main = set.last_run && mainStream(set.last_run);
  return element("li", {}, element("a", { href: `#/evaluation/${set.id}` }, set.name),
    element("p", { className: "quiet" }, `version ${set.version} · ${plural(set.num_queries, "query", "queries")}`,
      set.num_gone ? `, ${set.num_gone} of deleted videos` : "",
      main ? ` · R@1 ${main["R@1"]} % with ${set.last_run.model_name}` : " · not run yet"));
}

/** What users see: the right moment, re-ranked where the model can. */
function mainStream(run) {
  const streams = (run.figures?.streams ?? []).filter((stream) => stream.target === "moment");
  return streams.find((stream) => stream.stream === "reranked") ?? streams[0];
}

async function importSet(form) {
  const fields = new FormData(form);
  const file = fields.get("file");
  const format = file.name.split(".").pop().toLowerCase();
  if (!FORMATS.includes(format)) throw new Error(`${file.name || "The file"} is neither .csv nor .jsonl.`);
  const query = new URLSearchParams({ name: fields.get("name"), format });
  const made = await call("POST", `/v1/evaluation-sets/import?${query}`, file);
  form.reset();
  location.hash = `#/evaluation/${made.id}`;
}

async function showSet(id) {
  const mine = visit;
  try {
    const [set, { runs }] = await Promise.all([
      call("GET", `/v1/evaluation-sets/${id}`), call("GET", `/v1/evaluation-sets/${id}/runs`)]);
    if (mine !== visit) return;
    drawSet(set, runs);
    stop();
    const open = runs.find(isOpen);
    if (open) watch(open, id, mine);
  } catch (error) {
    if (mine === visit) say(error.message);
  }
}

function watch(open, setId, mine) {
  const again = () => { if (mine === visit) showSet(setId); };
  stop = follow(open.links.events, {
    progress: (job) => { if (mine === visit) drawOpen({ ...open, state: job.state, percent: job.percent }); },
    end: again,
  }, async () => {
    const isOver = !isOpen(await call("GET", open.links.self));
    if (isOver) again();
    return isOver;
  });
}

function drawSet(set, runs) {
  const heading = element("h2", { tabIndex: -1 }, set.name);
  const hadFocus = $("set").contains(document.activeElement);
  const run = action("Run now", async () => {
    await call("POST", `/v1/evaluation-sets/${set.id}/runs`);
    await showSet(set.id);
  }, { className: "", id: "run-set", say });
  run.disabled = runs.some(isOpen);
  const done = runs.filter((each) => each.figures);
  $("set").replaceChildren(
    element("p", {}, element("a", { href: "#/evaluation" }, "← All sets")), heading,
    element("p", { className: "quiet" }, `version ${set.version}${set.is_newest ? "" : ", there is a newer one"} · ${plural(set.num_queries, "query", "queries")}`),
    run, element("div", { id: "open-run" }),
    ...(done.length ? [element("h3", {}, "History"), ...history(done)] : []),
    ...failures(runs), queriesOf(set));
  const open = runs.find(isOpen);
  if (open) drawOpen(open);
  if (hadFocus) (run.disabled ? heading : run).focus();
}

function drawOpen(run) {
  $("open-run")?.replaceChildren(progressOf(run, {}, "Evaluation run"));
}

function history(runs) {
  const streams = [...new Set(runs.flatMap((run) => run.figures.streams.map((each) => each.stream)))]
    .sort((one) => (one === "reranked" ? -1 : 1));
  return [plotOf(runs, streams), table("Runs, newest first", ["When", "Model", "Run", ...METRICS, "R@1 since the run before"],
    runs.map((run) => [answersLink(run), run.model_name ?? "", TRIGGERS[run.trigger] ?? run.trigger, ...figuresOf(run), changeOf(run)])),
  element("p", { className: "quiet" }, "Shares in %: the right moment, as searched."), element("div", { id: "run-answers" })];
}

function plotOf(runs, streams) {
  const oldest = [...runs].reverse();
  const lines = streams.map((stream) => ({
    name: STREAMS[stream] ?? stream,
    points: oldest.flatMap((run, place) => {
      const found = run.figures.streams.find((each) => each.stream === stream && each.target === "moment");
      return found ? [{ x: place + 1, y: found["R@1"], note: `${run.model_name}: R@1 ${found["R@1"]} %` }] : [];
    }),
  }));
  const every = Math.ceil(oldest.length / 6);
  const xTicks = oldest.map((run, place) => ({ x: place + 1, text: short(run.model_name ?? "") }))
    .filter((tick, place) => place % every === 0 && tick.text);
  const label = `R@1 of each run, oldest first: ${lines.map((line) => `${line.name} ${line.points.map((point) => `${point.y} %`).join(", ")}`).join("; ")}`;
  return element("figure", {}, linePlot({ label, lines, xTicks, y: { from: 0, to: 100, format: (value) => `${value} %` } }),
    legend(lines.map((line) => `R@1 ${line.name}`)));
}

function short(name) {
  return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name;
}

function figuresOf(run) {
  const main = mainStream(run);
  return METRICS.map((metric) => (main?.[metric] === undefined ? "–" : String(main[metric])));
}

function changeOf(run) {
  const main = mainStream(run);
  const change = run.figures.change?.streams.find((each) => each.stream === main.stream && each.target === main.target)?.["R@1"];
  if (!change) return "–";
  const kind = change.low > 0 ? "good" : change.high < 0 ? "bad" : "";
  return element("span", { className: kind, title: `95 % interval ${change.low} to ${change.high}` }, `${change.by > 0 ? "+" : ""}${change.by}`);
}

function answersLink(run) {
  const link = action("", () => showAnswers(run), { className: "link", say, "aria-label": `Answers of the run of ${new Date(run.created_at).toLocaleString()}` });
  link.append(when(run.created_at));
  return link;
}

async function showAnswers(run) {
  const { answers } = await call("GET", `/v1/evaluation-runs/${run.id}`);
  const place = (answer) => (answer.reranked ?? answer.dual_stream).moment;
  const lines = [...(answers ?? [])].sort((one, other) => place(other) - place(one))
    .map((answer) => [answer.text, String(place(answer)), String(answer.dual_stream.moment)]);
  const heading = element("h3", { tabIndex: -1 }, "Answers of the run of ", when(run.created_at));
  $("run-answers").replaceChildren(heading, table("Answers, the worst first", ["Query", "Place of the right moment", "By similarity"], lines));
  heading.focus();
}

function failures(runs) {
  const newest = runs[0];
  if (newest?.state !== "failed") return [];
  return [element("p", { className: "error" }, stateWord(newest), ` · ${newest.detail ?? newest.reason}`)];
}

function queriesOf(set) {
  return element("details", {}, element("summary", {}, "Queries"), table("Queries", ["Text", "Video", ""],
    set.queries.map((query) => [query.text, query.title, query.is_gone ? "deleted" : query.start_s === null ? "" : `${query.start_s}–${query.end_s} s`])));
}

export function startEvaluation() {
  $("set-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    try {
      await importSet(event.target);
    } catch (error) {
      const lines = error.errors?.map((each) => `${each.path}: ${each.message}`) ?? [];
      say([error.message, ...lines].join(" "));
    }
  });
}
