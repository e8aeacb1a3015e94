// The place Models: which there are, let one take over, go back.
import { call } from "./api.js";
import { $, action, element, plural, size, when } from "./dom.js";
import { activationCard } from "./activation.js";
import { isOpen } from "./jobs.js";
import { follow } from "./stream.js";

const STATES = { active: "Searched now", building: "Takes over", kept: "Kept", candidate: "Candidate", available: "Available" };
const ORIGINS = { bundled: "came with Reelseek", added: "added", tuning: "tuned" };
const ORDER = Object.keys(STATES);
const QUIET_MS = 15000;
let stop = () => {};
let timer = 0;
let visit = 0;
let drawn = ""; // what is shown, so that it is drawn anew only when it changed (what was unfolded stays so)

export function enterModels() {
  visit += 1;
  drawn = "";
  $("models-error").textContent = "";
  refresh();
}

export function leaveModels() {
  visit += 1;
  stop();
  stop = () => {};
  clearTimeout(timer);
}

/** Draw models and activations; follow the one that goes on. */
async function refresh() {
  const mine = visit;
  clearTimeout(timer);
  stop();
  try {
    const [{ models }, { activations }] = await Promise.all([call("GET", "/v1/models"), call("GET", "/v1/activations")]);
    if (mine !== visit) return;
    draw(models, activations);
    const open = activations.find(isOpen);
    if (open) watch(open, mine);
    else timer = setTimeout(refresh, QUIET_MS);
  } catch (error) {
    if (mine !== visit || error.status === 401) return;
    say(error.message);
    timer = setTimeout(refresh, QUIET_MS);
  }
}

function watch(open, mine) {
  const look = async () => {
    const now = await call("GET", open.links.self);
    if (mine !== visit) return true;
    drawOpen(now);
    if (isOpen(now)) return false;
    finished();
    return true;
  };
  const lookQuietly = () => look().catch((error) => say(error.message));
  stop = follow(open.links.events, { progress: lookQuietly, end: finished }, look);
  function finished() {
    if (mine !== visit) return;
    refresh();
    window.dispatchEvent(new Event("videos-changed")); // the head of the page names the model
  }
}

function say(text) {
  $("models-error").textContent = text;
}

function draw(models, activations) {
  drawOpen(activations.find(isOpen));
  const past = activations.filter((each) => !isOpen(each));
  const isBusy = past.length < activations.length;
  const key = JSON.stringify([models, past, isBusy]);
  if (key === drawn) return;
  drawn = key;
  const focused = document.activeElement?.dataset?.model;
  const sorted = [...models].sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state)
    || other.created_at.localeCompare(one.created_at));
  $("models").replaceChildren(...sorted.map((each) => modelCard(each, isBusy)));
  $("activations").replaceChildren(...past.map((each) => element("li", {}, activationCard(each, {
    onForce: each === activations[0] && each.reason === "canary_failed" ? activate(each.model_id, true) : null, say,
  }))));
  $("no-activations").hidden = past.length > 0;
  if (focused) $("models").querySelector(`[data-model="${focused}"]`)?.focus();
}

function drawOpen(activation) {
  const place = $("activation");
  if (!activation || !isOpen(activation)) {
    place.replaceChildren();
    return;
  }
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(activationCard(activation, {
    onCancel: async () => {
      await call("POST", activation.links.cancel);
      refresh();
    },
    say,
  }));
  if (hadFocus) place.querySelector("button")?.focus();
}

/** What lets a model take over; `force` even if the canary check fails. */
function activate(modelId, force) {
  return async () => {
    const asked = await call("POST", `/v1/models/${modelId}/activate`, { force });
    if (asked.is_switched) window.dispatchEvent(new Event("videos-changed"));
    await refresh();
  };
}

function modelCard(each, isBusy) {
  const facts = [originOf(each), size(each.size_bytes), each.abilities.includes("rerank") ? "re-ranks" : "does not re-rank",
    each.num_videos_embedded ? `${plural(each.num_videos_embedded, "video")} embedded` : null].filter(Boolean).join(" · ");
  const state = element("span", { className: "state", "data-state": each.state }, STATES[each.state]);
  const about = element("div", {}, element("h3", {}, each.name), element("p", {}, state,
    each.state === "kept" && each.kept_until ? [" until ", when(each.kept_until)] : ""),
  element("p", { className: "quiet" }, facts),
  each.report_summary?.why ? element("p", {}, each.report_summary.why) : null,
  each.origin.tuning_id ? element("p", {}, element("a", { href: `#/tuning/${each.origin.tuning_id}` }, "Its tuning run")) : null);
  return element("li", {}, element("article", { className: "card model", "data-state": each.state }, about, modelActions(each, isBusy)));
}

function originOf(each) {
  return ORIGINS[each.origin.kind] ?? each.origin.kind;
}

function modelActions(each, isBusy) {
  if (each.state === "active" || each.state === "building" || !each.abilities.includes("search")) return null;
  const isKept = each.state === "kept";
  const button = action(isKept ? `Go back to ${each.name}` : "Activate", activate(each.id, false),
    { className: isKept ? "plain" : "", say, "data-model": each.id, "aria-label": isKept ? null : `Activate ${each.name}` });
  button.disabled = isBusy;
  if (isBusy) button.title = "Another model is taking over now.";
  return element("div", { className: "actions" }, button);
}
