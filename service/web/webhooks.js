// Webhooks: who is told of what happens here.
import { call } from "./api.js";
import { confirmed } from "./confirm.js";
import { action, element, field, tick, when } from "./dom.js";
import { showSecret } from "./secret.js";

const EVENTS = {
  "video.ready": "a video is searchable", "video.partial": "a damaged video is searchable in part", "video.failed": "a video could not be processed",
  "video.deleted": "a video was deleted", "tuning.finished": "a tuning has ended", "model.activated": "another model took over",
  "import.finished": "an import has ended",
};

export async function showWebhooks({ place, say }) {
  const list = element("ul", { className: "rows", "aria-label": "Webhooks, oldest first" });
  place.append(element("p", {}, "An address is sent a signed message when something happens here."),
    webhookForm({ say, onMade: refresh }), element("h3", {}, "Webhooks"), list);
  await refresh();

  async function refresh() {
    const { webhooks } = await call("GET", "/v1/webhooks");
    list.replaceChildren(...webhooks.map((webhook) => webhookRow(webhook, { say, onChange: refresh })));
    if (!webhooks.length) list.replaceChildren(element("li", { className: "quiet" }, "None yet."));
  }
}

function webhookForm({ say, onMade }) {
  const events = Object.entries(EVENTS).map(([name, means]) => tick(`${name}: ${means}`, { name: "events", value: name }));
  const form = element("form", { className: "card", id: "webhook-form" }, element("h3", {}, "New webhook"),
    element("div", { className: "line" }, element("label", { className: "wide" }, "Address",
      element("input", { name: "url", type: "url", maxLength: 2048, required: true, placeholder: "https://…", autocomplete: "off" }))),
    element("fieldset", {}, element("legend", {}, "It is told when (nothing ticked: of everything)"), ...events),
    element("div", { className: "actions" }, element("button", {}, "Make the webhook")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const button = form.querySelector("button");
    say("");
    button.disabled = true;
    try {
      const chosen = fields.getAll("events");
      const made = await call("POST", "/v1/webhooks", { url: fields.get("url"), events: chosen.length ? chosen : ["*"] });
      form.reset();
      await showSigning(made);
      await onMade();
    } catch (error) {
      say(error.message);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function showSigning(made) {
  const text = "It signs every message to this address, so that the receiver can check them. It is shown only now.";
  return showSecret({ title: `The secret of ${made.url}`, text, secret: made.secret });
}

function webhookRow(webhook, { say, onChange }) {
  const isOn = webhook.is_enabled;
  const events = webhook.events.includes("*") ? "every event" : webhook.events.join(", ");
  return element("li", { className: "model", "data-webhook": webhook.id },
    element("div", {}, element("a", { href: `#/settings/webhooks/${webhook.id}` }, webhook.url),
      element("p", {}, element("span", { className: "state", "data-state": isOn ? "active" : "failed" }, isOn ? "Enabled" : "Disabled"),
        element("span", { className: "quiet" }, ` · ${events}`)),
      webhook.failing_since ? element("p", { className: "error" }, "It is away since ", when(webhook.failing_since), ".") : null,
      webhook.disabled_reason ? element("p", { className: "error" }, webhook.disabled_reason) : null),
    element("div", { className: "actions" }, ...webhookActions(webhook, { say, onChange })));
}

/** What can be done with a webhook; `onChange` gets it as it is then, or null if it is gone. */
export function webhookActions(webhook, { say, onChange }) {
  const named = (text, act) => action(text, act, { say, "aria-label": `${text}: ${webhook.url}` });
  const here = webhook.links.self;
  const test = async () => {
    await call("POST", `${here}/test`);
    location.hash = `#/settings/webhooks/${webhook.id}`;
    await onChange(webhook);
  };
  const enable = async () => onChange(await call("PATCH", here, { is_enabled: !webhook.is_enabled }));
  const rotate = async () => {
    const text = "For a day the old secret signs, too, so that the receiver can be changed without a gap.";
    if (!await confirmed({ title: "Make a new secret?", text, yes: "Make it", no: "Leave it" })) return;
    const made = await call("POST", `${here}/rotate`);
    await showSigning(made);
    await onChange(made);
  };
  const remove = async () => {
    const text = `${webhook.url} is told of nothing more, not even of what waits to be sent.`;
    if (!await confirmed({ title: "Delete this webhook?", text, yes: "Delete" })) return;
    await call("DELETE", here);
    await onChange(null);
  };
  return [webhook.is_enabled ? named("Send a test", test) : null, named(webhook.is_enabled ? "Disable" : "Enable again", enable),
    named("New secret", rotate), named("Delete", remove)].filter(Boolean);
}
