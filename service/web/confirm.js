// Ask before something is done that cannot be undone.
import { $ } from "./dom.js";

/** Return whether a person agreed; `yes` and `no` are what the buttons say. */
export function confirmed({ title, text, yes, no = "Keep it" }) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  $("confirm-no").textContent = no;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => { dialog.onclose = () => resolve(dialog.returnValue === "yes"); });
}
