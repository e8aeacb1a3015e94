// How far work in the background is, in words, the same for every kind of it.
import { element, lasting } from "./dom.js";

export const STATES = { queued: "Waiting", running: "Running", done: "Done", failed: "Failed", cancelled: "Cancelled" };

export function isOpen(job) {
  return job.state === "queued" || job.state === "running";
}

/** A state as a coloured word. */
export function stateWord(job, stages = {}) {
  const stage = job.state === "running" && job.stage ? stages[job.stage] ?? job.stage : null;
  return element("span", { className: "state", "data-state": job.state }, stage ?? STATES[job.state] ?? job.state);
}

/** A bar with what is going on and how long it will take. */
export function progressOf(job, stages, label) {
  const told = [`${Math.floor(job.percent)} %`, job.eta_s ? `${lasting(job.eta_s)} left` : null].filter(Boolean).join(" · ");
  return element("div", { className: "progress" },
    element("p", { role: "status" }, stateWord(job, stages), ` · ${told}`),
    element("progress", { max: 100, value: job.percent, "aria-label": label }));
}
