// One model taking over from another: how far it is, and what its checks found.
import { action, element, plural, when } from "./dom.js";
import { isOpen, progressOf, stateWord } from "./jobs.js";

const STAGES = { embedding: "Embedding your videos", checking: "Checking", warming: "Loading it", switching: "Switching" };
const TRIGGERS = { person: "asked for by a person", policy: "asked for by the policy of its tuning", command: "asked for by a command" };

/** Return an activation as a card; `onCancel` and `onForce` are there while that can be done. */
export function activationCard(activation, { onCancel, onForce, say }) {
  const head = element("p", {}, element("strong", {}, activation.model_name), " ");
  if (!isOpen(activation)) head.append(stateWord(activation));
  const card = element("article", { className: "card activation", "data-state": activation.state }, head,
    element("p", { className: "quiet" }, TRIGGERS[activation.trigger] ?? activation.trigger, ", ", when(activation.created_at)));
  if (isOpen(activation)) card.append(progressOf(activation, STAGES, `${activation.model_name} taking over`));
  if (activation.detail) card.append(element("p", { className: activation.state === "failed" ? "error" : "quiet" }, activation.detail));
  const found = checks(activation.report);
  if (found.length) {
    card.append(element("details", { open: isOpen(activation) || activation.state === "failed" },
      element("summary", {}, "What its checks found"), ...found));
  }
  if (isOpen(activation) && onCancel) card.append(action("Cancel", onCancel, { say, "aria-label": `Cancel the activation of ${activation.model_name}` }));
  if (onForce) card.append(action("Activate it anyway", onForce, { say, "aria-label": `Activate ${activation.model_name} anyway` }));
  return card;
}

function checks({ embedding, canary, shadow, warming, is_forced: isForced }) {
  const parts = [];
  if (isForced) parts.push(element("p", {}, "Asked to switch although the canary check may fail."));
  if (embedding?.segments) parts.push(element("p", {}, `${plural(embedding.segments, "segment")} embedded.`));
  if (canary) parts.push(...canaryParts(canary));
  if (shadow) parts.push(...shadowParts(shadow));
  if (warming) parts.push(element("p", {}, `${warming.warm} of ${plural(warming.processes, "process", "processes")} had it loaded before the switch.`));
  return parts;
}

function canaryParts(canary) {
  const problems = canary.problems ?? [];
  const compared = canary.stored_compared ? ` Stored embeddings: ${plural(canary.stored_compared, "clip")} embedded again, least cosine ${canary.stored_cosine}.` : "";
  return [element("p", {}, element("strong", { className: canary.is_passed ? "good" : "bad" }, canary.is_passed ? "Canary passed. " : "Canary failed. "),
    `Pinned clips: least cosine ${canary.pinned_cosine}.${compared} Mean cosine of two embeddings: ${canary.mean_cosine} (before: ${canary.mean_cosine_before}).`),
  problems.length ? element("ul", {}, ...problems.map((problem) => element("li", { className: "error" }, problem))) : ""];
}

function shadowParts(shadow) {
  if (!shadow.texts) return [element("p", {}, "Shadow search: no text to compare with yet.")];
  const share = (value) => `${Math.round(value * 100)} %`;
  const found = [element("p", {}, `Shadow search of ${plural(shadow.texts, "text")}: ${share(shadow.overlap_at_10)} of the first ten hits stay, `
    + `${share(shadow.same_first)} have the same first hit.`)];
  const examples = shadow.examples ?? [];
  if (examples.length) {
    found.push(element("p", { className: "quiet" }, "Most different:"),
      element("ul", {}, ...examples.map((each) => element("li", {}, `“${each.text}”: ${share(each.overlap)} in common`))));
  }
  return found;
}
