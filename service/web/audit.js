// Who did what: the actions of administrators, newest first.
import { call } from "./api.js";
import { element, field, table, when } from "./dom.js";
import { growing } from "./growing.js";

export async function showAudit({ place, say }) {
  const filters = element("form", { className: "line", id: "audit-form" },
    field("Action", element("input", { name: "action", maxLength: 64, autocomplete: "off", placeholder: "create_key" })),
    field("Who", element("input", { name: "actor", maxLength: 64, autocomplete: "off", placeholder: "id of a key" })),
    element("button", {}, "Show"));
  const list = growing({ load: (cursor) => load(cursor, new FormData(filters)), draw, empty: "Nothing that fits.", more: "Older ones", say });
  filters.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    await list.begin().catch((error) => say(error.message));
  });
  place.append(element("p", {}, "What administrators did. Nothing changes or removes these lines."), filters, list.node);
  await list.refresh();
}

async function load(cursor, fields) {
  const query = new URLSearchParams({ limit: 50 });
  for (const name of ["action", "actor"]) if (fields.get(name)) query.set(name, fields.get(name).trim());
  if (cursor) query.set("cursor", cursor);
  const page = await call("GET", `/v1/audit-events?${query}`);
  return { items: page.events, next: page.next_cursor };
}

function draw(events) {
  const heads = ["When", "Action", "Who", "From", "What it was done to", "Detail"];
  return table("Actions of administrators, newest first", heads, events.map((each) => [
    when(each.at), each.action, each.actor, each.address ?? "–", each.subject ?? "–",
    element("div", { className: "told" }, detailOf(each))]));
}

function detailOf({ detail }) {
  return Object.entries(detail ?? {}).filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}
