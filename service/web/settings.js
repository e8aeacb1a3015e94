// The place Settings: what administrators look after, each part with an address of its own.
import { showAudit } from "./audit.js";
import { $, element } from "./dom.js";
import { showInstallation } from "./installation.js";
import { showKeys } from "./keys.js";
import { showWebhook } from "./webhook.js";
import { showWebhooks } from "./webhooks.js";

const PARTS = {
  keys: { title: "API keys", show: showKeys },
  webhooks: { title: "Webhooks", show: (part, id) => (id ? showWebhook(part, id) : showWebhooks(part)) },
  audit: { title: "Who did what", show: showAudit },
  installation: { title: "This installation", show: showInstallation },
};
let visit = 0;
let timer = 0;

/** Show a part: it gets where to draw, where to say failures, and whether it is still looked at. */
export function enterSettings(name = "keys", id = null) {
  visit += 1;
  const mine = visit;
  const shown = name in PARTS ? name : "keys";
  const error = element("p", { className: "error", role: "alert" });
  const place = element("section", { "aria-label": PARTS[shown].title });
  $("place-settings").replaceChildren(element("h2", {}, "Settings"), menu(shown), error, place);
  const part = {
    place,
    say: (text) => { error.textContent = text; },
    isShown: () => mine === visit,
    later: (look, ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => { if (mine === visit) look(); }, ms);
    },
  };
  const failed = (failure) => { if (mine === visit) part.say(failure.message); };
  PARTS[shown].show(part, id).catch(failed);
}

export function leaveSettings() {
  visit += 1;
  clearTimeout(timer);
}

function menu(shown) {
  const links = Object.entries(PARTS).map(([name, { title }]) => element("a", {
    href: `#/settings/${name}`, "aria-current": name === shown ? "page" : null,
  }, title));
  return element("nav", { className: "parts", "aria-label": "Settings" }, ...links);
}
