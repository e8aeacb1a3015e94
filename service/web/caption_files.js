// Take captions in from a file, and say of each line that is wrong why.
import { call } from "./api.js";
import { action, element, plural } from "./dom.js";

const FORMATS = ["csv", "jsonl", "vtt", "srt"];
const MOST_SHOWN = 50;

/** Return a control that imports a file; `videoId()` names the video that subtitles are about, if there is one. */
export function captionImport({ id, videoId = () => null, onImported }) {
  const help = videoId() === null
    ? "CSV or JSON Lines with video, text and, if it is about a span, start_s and end_s."
    : "WebVTT, SubRip, CSV or JSON Lines.";
  const input = element("input", { type: "file", id, accept: FORMATS.map((each) => `.${each}`).join(), "aria-describedby": `${id}-help` });
  const told = element("div", { role: "status", className: "told" });
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    input.value = "";
    await take(file, "refuse", { videoId: videoId(), told, onImported });
  });
  return element("div", { className: "import" },
    element("label", { htmlFor: id }, "Import captions from a file"), input,
    element("p", { id: `${id}-help`, className: "quiet" }, help), told);
}

async function take(file, onError, { videoId, told, onImported }) {
  const format = file.name.split(".").pop().toLowerCase();
  if (!FORMATS.includes(format)) {
    told.replaceChildren(error(`${file.name} is none of the kinds that are read: ${FORMATS.join(", ")}.`));
    return;
  }
  told.replaceChildren(`Reading ${file.name} …`);
  const query = new URLSearchParams({ format, on_error: onError, ...(videoId ? { video_id: videoId } : {}) });
  try {
    const done = await call("POST", `/v1/captions/import?${query}`, file);
    told.replaceChildren(element("p", {}, sentence(file.name, done)), problems(done.skipped.map((bad) => `Line ${bad.line}: ${bad.reason}`)));
    onImported();
  } catch (failure) {
    const lines = failure.errors.map((each) => `${each.path}: ${each.message}`);
    told.replaceChildren(error(failure.message), problems(lines));
    if (failure.reason !== "invalid_lines") return;
    told.append(action("Import the other lines", () => take(file, "skip", { videoId, told, onImported })));
  }
}

function sentence(name, done) {
  return [`${plural(done.imported, "caption")} imported from ${name}.`,
    done.unchanged ? `${done.unchanged.toLocaleString()} were here already.` : "",
    done.num_skipped ? `${plural(done.num_skipped, "line")} left out:` : ""].filter(Boolean).join(" ");
}

function problems(lines) {
  const shown = lines.slice(0, MOST_SHOWN).map((line) => element("li", {}, line));
  if (lines.length > MOST_SHOWN) shown.push(element("li", {}, `and ${plural(lines.length - MOST_SHOWN, "other")}`));
  return element("ul", { className: "problems", hidden: !lines.length }, ...shown);
}

function error(text) {
  return element("p", { className: "error" }, text);
}

/** Links to download captions, of one video or of all. */
export function captionExports(videoId = null) {
  const kinds = videoId ? { vtt: "WebVTT", srt: "SubRip", csv: "CSV", jsonl: "JSON Lines" } : { csv: "CSV", jsonl: "JSON Lines" };
  const links = Object.entries(kinds).map(([format, name]) => {
    const query = new URLSearchParams({ format, ...(videoId ? { video_id: videoId } : {}) });
    return element("a", { href: `/v1/captions/export?${query}`, download: `captions.${format}` }, name);
  });
  return element("p", { className: "links" }, "Export captions: ", ...links);
}
