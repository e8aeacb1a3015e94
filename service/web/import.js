// One import: how far it is, and what became of each file.
import { call } from "./api.js";
import { action, element, field, size, table, when } from "./dom.js";
import { growing } from "./growing.js";
import { ITEM_STATES, countsOf, nameOf } from "./import_words.js";
import { isOpen, progressOf, stateWord } from "./jobs.js";
import { follow } from "./stream.js";

const STAGES = { listing: "Listing", fetching: "Fetching" };
const COLOURS = { waiting: "queued", accepted: "ready", duplicate: "done", refused: "failed" };

/** Show it; return what stops following it. */
export function showImport(id, { place, say, isShown, failed }) {
  const path = `/v1/imports/${id}`;
  const title = element("h2", { tabIndex: -1 }, "Import");
  const head = element("div");
  const filter = element("select", { name: "state" }, element("option", { value: "" }, "all"),
    ...Object.entries(ITEM_STATES).map(([state, words]) => element("option", { value: state }, words.toLowerCase())));
  const list = growing({ load: (after) => load(path, after, filter.value), draw, empty: "None.", more: "More files", say });
  filter.addEventListener("change", () => list.begin().catch(failed));
  place.append(element("p", {}, element("a", { href: "#/imports" }, "← All imports")), title, head,
    element("div", { className: "list-head" }, element("h3", {}, "Files"), field("Show", filter)), list.node);
  let stop = () => {};
  look().then((now) => {
    if (isShown() && isOpen(now)) stop = follow(now.links.events, { progress: quietly, end: quietly }, async () => !isOpen(await look()));
  }).catch(failed);
  return () => stop();

  async function look() {
    const now = await call("GET", path);
    if (!isShown()) return now;
    drawHead(now);
    await list.refresh();
    return now;
  }

  function quietly() {
    look().catch(failed);
  }

  function drawHead(now) {
    const hadFocus = head.contains(document.activeElement);
    const cancel = action("Cancel", async () => {
      await call("POST", now.links.cancel);
      await look();
    }, { say });
    title.textContent = nameOf(now);
    head.replaceChildren(
      element("p", { className: "quiet" }, "Asked for ", when(now.created_at), now.finished_at ? [", ended ", when(now.finished_at)] : ""),
      isOpen(now) ? progressOf(now, STAGES, "Import") : element("p", {}, stateWord(now)),
      element("p", { id: "import-counts", role: "status" }, countsOf(now)),
      now.detail ? element("p", { className: now.state === "failed" ? "error" : "quiet" }, now.detail) : "",
      isOpen(now) ? cancel : "");
    if (hadFocus) (head.querySelector("button") ?? title).focus();
  }
}

async function load(path, after, state) {
  const query = new URLSearchParams({ limit: 100, ...(after === null ? {} : { after }), ...(state ? { state } : {}) });
  const page = await call("GET", `${path}/items?${query}`);
  return { items: page.items, next: page.next_after };
}

function draw(items) {
  return table("Files", ["Source", "Size", "What became of it"], items.map((each) => [
    each.source, each.size_bytes === null ? "–" : size(each.size_bytes), outcome(each)]));
}

function outcome(each) {
  return element("div", { className: "told" }, element("span", { className: "state", "data-state": COLOURS[each.state] }, ITEM_STATES[each.state]),
    each.state === "refused" ? ` · ${each.detail ?? each.reason}` : "");
}
