// One webhook: what it was told, and what it is to be told.
import { call } from "./api.js";
import { element, field, lasting, plural, table, when } from "./dom.js";
import { growing } from "./growing.js";
import { webhookActions } from "./webhooks.js";

const STATES = { waiting: "To be sent", delivered: "Delivered", given_up: "Given up" };
const COLOURS = { waiting: "queued", delivered: "ready", given_up: "failed" };
const REFRESH_MS = 2000;

export async function showWebhook(part, id) {
  const { place, say } = part;
  const head = element("div");
  const filter = element("select", { name: "state" }, element("option", { value: "" }, "all messages"),
    ...Object.entries(STATES).map(([state, words]) => element("option", { value: state }, words.toLowerCase())));
  const list = growing({ load: (cursor) => load(id, cursor, filter.value), draw: deliveries, empty: "No message yet.", more: "Older messages", say });
  place.append(element("p", {}, element("a", { href: "#/settings/webhooks" }, "← All webhooks")), head,
    element("div", { className: "list-head" }, element("h3", {}, "Messages"), field("Show", filter)), list.node);
  filter.addEventListener("change", () => list.begin().catch((error) => say(error.message)));
  drawHead(await call("GET", `/v1/webhooks/${id}`));
  await look();

  function drawHead(webhook) {
    if (webhook === null) {
      location.hash = "#/settings/webhooks";
      return;
    }
    const hadFocus = head.contains(document.activeElement);
    head.replaceChildren(element("h3", { tabIndex: -1 }, webhook.url), about(webhook),
      element("div", { className: "actions" }, ...webhookActions(webhook, { say, onChange: changed })));
    if (hadFocus) head.querySelector("button")?.focus();
  }

  async function changed(webhook) {
    drawHead(webhook);
    if (webhook) await look();
  }

  /** Look again while something is to be sent. */
  async function look() {
    await list.refresh();
    const isOpen = list.items().some((each) => each.state === "waiting");
    if (isOpen && part.isShown()) {
      part.later(async () => {
        try {
          drawHead(await call("GET", `/v1/webhooks/${id}`));
          await look();
        } catch (error) {
          say(error.message);
        }
      }, REFRESH_MS);
    }
  }
}

function about(webhook) {
  const events = webhook.events.includes("*") ? "every event" : webhook.events.join(", ");
  return element("div", {}, element("p", {}, `Told of ${events}.`),
    webhook.is_enabled ? null : element("p", { className: "error" }, webhook.disabled_reason ?? "Disabled: it is told of nothing."),
    webhook.failing_since ? element("p", { className: "error" }, "It is away since ", when(webhook.failing_since), "; it is tried again, less and less often.") : null,
    Date.parse(webhook.old_secret_until) > Date.now() ? element("p", { className: "quiet" }, "The secret from before signs, too, until ", when(webhook.old_secret_until), ".") : null);
}

async function load(id, cursor, state) {
  const query = new URLSearchParams({ limit: 50, ...(cursor ? { cursor } : {}), ...(state ? { state } : {}) });
  const page = await call("GET", `/v1/webhooks/${id}/deliveries?${query}`);
  return { items: page.deliveries, next: page.next_cursor };
}

function deliveries(items) {
  return table("Messages, newest first", ["Event", "Made", "State", "Last answer", "Message"], items.map((each) => [
    each.event, when(each.created_at), standing(each), answer(each),
    element("details", {}, element("summary", {}, each.message_id), element("pre", {}, JSON.stringify(each.payload, null, 2)))]));
}

function standing(each) {
  const waits = each.state === "waiting" && each.next_try_at ? (Date.parse(each.next_try_at) - Date.now()) / 1000 : null;
  const word = element("span", { className: "state", "data-state": COLOURS[each.state] }, STATES[each.state] ?? each.state);
  return element("span", {}, word, each.tries ? `, ${plural(each.tries, "try", "tries")}` : "", waits > 0 ? `, again in ${lasting(waits)}` : "");
}

function answer(each) {
  return [each.status ? `${each.status}` : null, each.detail].filter(Boolean).join(" · ") || "–";
}
