// The report of a tuning run: one verdict, figures side by side, queries won and lost.
import { call } from "./api.js";
import { action, element, plural, table } from "./dom.js";

const VERDICTS = {
  better: "The tuned model is better.", worse: "The tuned model is worse.",
  no_difference: "No difference can be shown.", not_enough_to_tell: "There is not enough to tell.",
};
const STREAMS = { reranked: "re-ranked", dual_stream: "by similarity" };
const DIRECTIONS = { t2v: "from text to video", v2t: "from video to text" };
const SHOWN = 10;

/** Return a report as the page shows it; `titles` gives the titles of videos by id. */
export function reportOf(report, run, titles) {
  const { held_out: heldOut, gallery, calibration } = report;
  const said = element("p", { className: "error", role: "alert" });
  const say = (text) => { said.textContent = text; };
  const candidate = run.candidate_version;
  const activate = candidate && action(`Activate ${candidate.name}`, async () => {
    await call("POST", `/v1/models/${candidate.id}/activate`, {});
    location.hash = "#/models";
  }, { className: "", say });
  const title = (text) => element("h3", {}, text);
  const parts = [
    element("div", { className: "card verdict", "data-verdict": report.verdict },
      element("p", { className: "large" }, VERDICTS[report.verdict] ?? report.verdict), element("p", {}, report.why), activate, said),
    heldOut.streams.length ? title(`On ${plural(heldOut.texts, "held-out text")} of ${plural(heldOut.videos, "video")}`) : null,
    ...streamTables(heldOut.streams),
    gallery ? title(`Among the ${plural(gallery.segments, "segment")} that are searched`) : null,
    ...(gallery ? streamTables(gallery.streams) : []),
    ...(heldOut.queries.length ? [title("Queries won and lost"), wonAndLost(heldOut.queries, titles)] : []),
    title("Match probabilities"), element("p", {}, calibrated(calibration)),
    ...remarks(report),
  ];
  return element("div", { className: "report" }, ...parts);
}

/** One table for each way to search: what is searched by first, the others folded away. */
function streamTables(rows) {
  const kinds = new Map();
  for (const row of rows) {
    const name = `${STREAMS[row.stream] ?? row.stream}, ${DIRECTIONS[row.direction] ?? row.direction}`;
    kinds.set(name, [...(kinds.get(name) ?? []), row]);
  }
  const order = (row) => 2 * (row.direction !== "t2v") + (row.stream !== "reranked");
  const tables = [...kinds].sort(([, one], [, other]) => order(one[0]) - order(other[0])).map(([name, of]) => streamTable(name, of));
  if (tables.length < 2) return tables;
  return [tables[0], element("details", {}, element("summary", {}, "Other ways to search"), ...tables.slice(1))];
}

function streamTable(name, rows) {
  const lines = rows.map((row) => [row.metric, figure(row.base), figure(row.candidate), difference(row),
    row.low === null ? "" : `${signed(row.low)} to ${signed(row.high)}`]);
  return element("div", {}, element("h4", {}, name[0].toUpperCase() + name.slice(1)),
    table(name, ["", "Before", "Tuned", "Difference", "95 % interval"], lines));
}

function figure(value) {
  return value === null || value === undefined ? "–" : String(Number(value.toFixed(1)));
}

function signed(value) {
  const rounded = Number(value.toFixed(1));
  return rounded > 0 ? `+${rounded}` : String(rounded).replace("-", "−");
}

/** Coloured only where the interval does not hold 0; of the median rank less is better. */
function difference(row) {
  if (row.difference === null) return "–";
  const sign = row.low > 0 ? 1 : row.high < 0 ? -1 : 0;
  const isGood = row.metric === "MdR" ? -sign : sign;
  const kind = isGood > 0 ? "good" : isGood < 0 ? "bad" : "";
  return element("span", { className: kind }, signed(row.difference));
}

function wonAndLost(queries, titles) {
  const of = (outcome) => queries.filter((query) => query.outcome === outcome);
  const same = of("same").length;
  return element("div", {},
    element("div", { className: "sides" }, side("Won", of("won"), titles), side("Lost", of("lost"), titles)),
    same ? element("p", { className: "quiet" }, `${plural(same, "query", "queries")} at the same place as before.`) : null);
}

function side(name, queries, titles) {
  const list = element("ul");
  const show = async (some) => {
    const known = await titles(some.map((query) => query.video_id));
    list.append(...some.map((query) => element("li", {}, element("span", { className: "words" }, query.text),
      element("span", { className: "quiet" },
        ` place ${query.rank_before} → ${query.rank_after}${known.has(query.video_id) ? ` · ${known.get(query.video_id)}` : ""}`))));
  };
  show(queries.slice(0, SHOWN));
  const more = queries.length > SHOWN && element("button", { type: "button", className: "plain small" }, `All ${queries.length}`);
  if (more) more.addEventListener("click", () => { more.remove(); show(queries.slice(SHOWN)); });
  return element("section", { "data-side": name.toLowerCase() }, element("h4", {}, `${name}: ${queries.length}`),
    queries.length ? list : element("p", { className: "quiet" }, "None."), more || null);
}

function calibrated(calibration) {
  if (!calibration) return "They were not fitted: searches show the network's own.";
  const share = (value) => `${(value * 100).toFixed(1)} %`;
  const after = calibration.error_after === null ? "" : `, now by ${share(calibration.error_after)}`;
  return `They were wrong by ${share(calibration.error_before)} on average${after} (${calibration.pairs.toLocaleString()} candidates). `
    + `Below ${share(calibration.threshold)} a search says “No confident match”.`;
}

function remarks(report) {
  const left = report.left_out ?? [];
  const lines = [...(report.notes ?? []), ...left.map((each) => `Left out: ${each.reason}`)];
  return lines.length ? [element("h3", {}, "Remarks"), element("ul", {}, ...lines.map((line) => element("li", {}, line)))] : [];
}
