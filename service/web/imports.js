// The place Imports: videos that the server fetches itself, from addresses, a folder or a bucket.
import { call } from "./api.js";
import { $, element, field, splitTags, when } from "./dom.js";
import { growing } from "./growing.js";
import { showImport } from "./import.js";
import { countsOf, nameOf } from "./import_words.js";
import { isOpen, stateWord } from "./jobs.js";

const REFRESH_MS = 3000;
const KINDS = {
  urls: ["Addresses, one a line", () => element("textarea", { name: "what", rows: 4, required: true, spellcheck: false, placeholder: "https://…" })],
  folder: ["Folder below the import folder; . is all of it", () => oneLine("2025/holidays")],
  bucket: ["Bucket, or a part of one", () => oneLine("s3://bucket/prefix")],
};
let visit = 0;
let timer = 0;
let stop = () => {};

function oneLine(placeholder) {
  return element("input", { name: "what", required: true, maxLength: 1024, placeholder, autocomplete: "off" });
}

export function enterImports(id = null) {
  visit += 1;
  const mine = visit;
  const error = element("p", { className: "error", role: "alert" });
  const place = element("section", { "aria-label": id ? "Import" : "Imports" });
  const say = (text) => { error.textContent = text; };
  const isShown = () => mine === visit;
  const failed = (failure) => { if (isShown()) say(failure.message); };
  if (id) {
    $("place-imports").replaceChildren(error, place);
    stop = showImport(id, { place, say, isShown, failed });
  } else {
    $("place-imports").replaceChildren(element("h2", {}, "Imports"), error, place);
    showImports({ place, say, isShown }).catch(failed);
  }
}

export function leaveImports() {
  visit += 1;
  clearTimeout(timer);
  stop();
  stop = () => {};
}

async function showImports({ place, say, isShown }) {
  const list = growing({ load, draw, more: "Older ones", say });
  place.append(element("p", {}, "The server fetches videos itself. What is no video is refused with the reason,",
    " and what is here already is recognised."),
    importForm(say), element("h3", {}, "Imports so far"), list.node);
  await list.refresh();
  watch();

  function watch() {
    if (!isShown() || !list.items().some(isOpen)) return;
    timer = setTimeout(() => list.refresh().catch((error) => say(error.message)).then(watch), REFRESH_MS);
  }
}

async function load(cursor) {
  const query = new URLSearchParams({ limit: 20, ...(cursor ? { cursor } : {}) });
  const page = await call("GET", `/v1/imports?${query}`);
  return { items: page.imports, next: page.next_cursor };
}

function draw(imports) {
  return element("ul", { className: "rows", id: "imports", "aria-label": "Imports, newest first" }, ...imports.map((each) =>
    element("li", {}, element("a", { href: `#/imports/${each.id}` }, nameOf(each)), element("p", { className: "quiet" },
      stateWord(each), " · ", when(each.created_at), ` · ${countsOf(each)}`))));
}

function importForm(say) {
  const kinds = element("select", { name: "kind" }, element("option", { value: "urls" }, "their addresses"),
    element("option", { value: "folder" }, "a folder of the server"), element("option", { value: "bucket" }, "a bucket"));
  const what = element("div", { className: "stack" });
  const choose = () => {
    const [label, control] = KINDS[kinds.value];
    what.replaceChildren(field(label, control()));
  };
  kinds.addEventListener("change", choose);
  choose();
  const form = element("form", { className: "card", id: "import-form" }, element("div", { className: "filters" }, field("Fetch videos by", kinds),
    field("Tags for all of them, separated by commas", element("input", { name: "tags", autocomplete: "off" }))), what,
  element("div", { className: "actions" }, element("button", {}, "Import")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    say("");
    button.disabled = true;
    try {
      const made = await call("POST", "/v1/imports", requested(new FormData(form)));
      location.hash = `#/imports/${made.id}`;
    } catch (error) {
      say([error.message, ...error.errors.map((each) => each.message)].join(" "));
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function requested(fields) {
  const [kind, what] = [fields.get("kind"), fields.get("what").trim()];
  const tags = splitTags(fields.get("tags"));
  if (kind === "folder") return { folder: what, tags };
  if (kind === "bucket") return { bucket: { url: what }, tags };
  const urls = what.split(/\s+/).filter(Boolean).map((url) => ({ url }));
  return { urls, tags };
}
