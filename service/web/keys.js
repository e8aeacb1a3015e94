// API keys: make, rotate, revoke; a key itself is shown once.
import { call } from "./api.js";
import { confirmed } from "./confirm.js";
import { action, element, field, plural, size, tick, when } from "./dom.js";
import { showSecret } from "./secret.js";

const SCOPES = {
  search: "search and judge hits", read: "look at videos, jobs and figures", write: "upload, change and delete", admin: "everything, keys too",
};
const DAY_S = 86400;
const LIVES = { never: null, "30 days": 30 * DAY_S, "90 days": 90 * DAY_S, "a year": 365 * DAY_S };
const GB = 1e9;

export async function showKeys({ place, say }) {
  const list = element("ul", { className: "rows", "aria-label": "API keys, oldest first" });
  place.append(element("p", {}, "Programs come in with a key. Give each its own, with no more than it needs."),
    keyForm({ say, onMade: refresh }), element("h3", {}, "Keys"), list);
  await refresh();

  async function refresh() {
    const { keys } = await call("GET", "/v1/keys");
    list.replaceChildren(...keys.map((key) => keyRow(key, { say, onChange: refresh })));
    if (!keys.length) list.replaceChildren(element("li", { className: "quiet" }, "None yet."));
  }
}

function keyForm({ say, onMade }) {
  const scopes = Object.entries(SCOPES).map(([scope, means]) =>
    tick(`${scope}: ${means}`, { name: "scopes", value: scope, checked: ["search", "read"].includes(scope) }));
  const lives = element("select", { name: "life" }, ...Object.keys(LIVES).map((life) => element("option", { value: life }, life)));
  const number = (name, label) => field(label, element("input", { name, type: "number", min: 0, step: 1, placeholder: "as the settings say" }));
  const form = element("form", { className: "card", id: "key-form" }, element("h3", {}, "New key"),
    element("div", { className: "filters" }, field("Name", element("input", { name: "name", maxLength: 200, required: true, autocomplete: "off" })),
      field("It ends", lives)),
    element("fieldset", {}, element("legend", {}, "It may"), ...scopes),
    element("details", {}, element("summary", {}, "Limits of its own"), element("div", { className: "filters" },
      number("searches_per_minute", "Searches a minute"), number("requests_per_minute", "Requests a minute"),
      number("upload_gb_per_day", "Uploads a day, GB"))),
    element("div", { className: "actions" }, element("button", {}, "Make the key")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    say("");
    button.disabled = true;
    try {
      const made = await call("POST", "/v1/keys", requested(new FormData(form)));
      form.reset();
      await showKey(made);
      await onMade();
    } catch (error) {
      say(error.message);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function requested(fields) {
  const limits = {};
  for (const name of ["searches_per_minute", "requests_per_minute"]) if (fields.get(name) !== "") limits[name] = Number(fields.get(name));
  if (fields.get("upload_gb_per_day") !== "") limits.upload_bytes_per_day = Number(fields.get("upload_gb_per_day")) * GB;
  return {
    name: fields.get("name"),
    scopes: fields.getAll("scopes"),
    expires_in_s: LIVES[fields.get("life")],
    limits: Object.keys(limits).length ? limits : null,
  };
}

function showKey(made) {
  const text = "Keep it where its program finds it. It is shown only now: what is stored here is no more than its digest.";
  return showSecret({ title: `The key ${made.name}`, text, secret: made.key });
}

function keyRow(key, { say, onChange }) {
  const named = (text, act) => action(text, act, { say, "aria-label": `${text} ${key.name}` });
  const isOver = key.expires_at && Date.parse(key.expires_at) <= Date.now();
  const rotate = async () => {
    const text = "A new key is made that may do the same. The old one works for a day more, so that both can be exchanged without a gap.";
    if (!await confirmed({ title: `Rotate ${key.name}?`, text, yes: "Rotate", no: "Leave it" })) return;
    await showKey(await call("POST", `/v1/keys/${key.id}/rotate`, {}));
    await onChange();
  };
  const revoke = async () => {
    const text = "Whatever uses it is refused with its next request, for good.";
    if (!await confirmed({ title: `Revoke ${key.name}?`, text, yes: "Revoke" })) return;
    await call("DELETE", `/v1/keys/${key.id}`);
    await onChange();
  };
  return element("li", { className: "model", "data-key": key.id },
    element("div", {}, element("strong", {}, key.name), " ", ...key.scopes.map((scope) => element("span", { className: "tag" }, scope)),
      element("p", { className: "quiet" }, ...facts(key, isOver)), limitsOf(key)),
    element("div", { className: "actions" }, isOver || key.rotated_to ? null : named("Rotate", rotate), named("Revoke", revoke)));
}

function facts(key, isOver) {
  return ["made ", when(key.created_at), key.last_used_at ? [" · last used ", when(key.last_used_at)] : " · never used",
    key.expires_at ? [isOver ? " · ended " : " · ends ", when(key.expires_at)] : " · does not end",
    key.rotated_to ? " · another took its place" : ""].flat();
}

function limitsOf({ limits }) {
  const told = Object.entries({
    searches_per_minute: (most) => `${plural(most, "search", "searches")} a minute`,
    requests_per_minute: (most) => `${plural(most, "request")} a minute`,
    upload_bytes_per_day: (most) => `uploads of ${size(most)} a day`,
  }).filter(([name]) => limits && limits[name] !== null).map(([name, words]) => words(limits[name]));
  return told.length ? element("p", { className: "quiet" }, `At most ${told.join(", ")}.`) : null;
}
