// What people say of a hit: right, wrong, or that another one was meant. Tunings learn from it.
import { call } from "./api.js";
import { $, action, clock, element } from "./dom.js";

const DONE = { right: "Marked as right.", wrong: "Marked as wrong." };
let choosing = null; // {article, send} while the moment that was meant is being chosen

/** Return the row of buttons of a hit, which belongs to `article`. */
export function feedbackOf(hit, { text, receipt, article }) {
  const row = element("div", { className: "feedback", role: "group", "aria-label": `Is ${nameOf(hit)} what you meant?` });
  const told = element("p", { className: "told quiet", role: "status" });
  const buttons = element("div", { className: "actions" });
  const say = (message) => { told.textContent = message; };
  const send = async (verdict, instead) => {
    const body = { text, verdict, ...placeOf(hit), receipt, ...(instead ? { instead: placeOf(instead) } : {}) };
    const made = await call("POST", "/v1/feedback", body);
    buttons.hidden = true;
    const undo = action("Undo", async () => {
      await call("DELETE", `/v1/feedback/${made.id}`);
      buttons.hidden = false;
      say("Taken back.");
      buttons.querySelector("button").focus();
    }, { say, "aria-label": `Undo what you said of ${nameOf(hit)}` });
    told.replaceChildren(instead ? `Another was meant: ${nameOf(instead)}.` : DONE[verdict], " ", undo);
    undo.focus();
  };
  const button = (name, act) => action(name, act, { say, "aria-label": `${name}: ${nameOf(hit)}` });
  buttons.append(button("Right", () => send("right")), button("Wrong", () => send("wrong")),
    button("Another was meant …", () => choose({ article, send: (other) => send("instead", other) })));
  const pick = action("This one instead", async () => {
    const { send: tell } = choosing;
    stopChoosing();
    await tell(hit);
  }, { say, className: "small pick", "aria-label": `This one instead: ${nameOf(hit)}` });
  row.append(buttons, pick, told);
  return row;
}

function placeOf(hit) {
  return { video_id: hit.video_id, start_s: hit.start_s, end_s: hit.end_s };
}

function nameOf(hit) {
  return `${hit.title}, ${clock(hit.start_s)}–${clock(hit.end_s)}`;
}

function choose(asked) {
  stopChoosing();
  choosing = asked;
  asked.article.classList.add("not-meant");
  $("moments").classList.add("choosing");
  $("choosing").hidden = false;
  const others = [...document.querySelectorAll("#moments article:not(.not-meant) .pick")];
  (others[0] ?? $("stop-choosing")).focus();
}

/** Leave the choice, as when another search begins. */
export function stopChoosing() {
  choosing?.article.classList.remove("not-meant");
  choosing = null;
  $("moments").classList.remove("choosing");
  $("choosing").hidden = true;
}

export function startFeedback() {
  $("stop-choosing").addEventListener("click", stopChoosing);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && choosing) stopChoosing();
  });
}
