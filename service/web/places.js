// Which place of the page is shown, by its address: #/, #/tuning, #/tuning/ID, #/settings/keys, …
import { $ } from "./dom.js";

const places = new Map(); // name -> {title, enter, leave}
let current = null;

/** Add a place: its element is `place-NAME`; `enter` gets the rest of the address, `leave` stops what runs. */
export function addPlace(name, { title, enter = () => {}, leave = () => {} }) {
  places.set(name, { title, enter, leave });
}

/** Show what the address names; other hashes, as of a link inside the page, change nothing. */
export function showPlace({ isMoved = false } = {}) {
  if (location.hash && !location.hash.startsWith("#/") && current) return;
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);
  const shown = places.has(name) ? name : "search";
  leavePlace();
  current = shown;
  for (const each of places.keys()) $(`place-${each}`).hidden = each !== shown;
  for (const link of document.querySelectorAll("#places a")) {
    if (link.dataset.place === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const { title, enter } = places.get(shown);
  document.title = title ? `${title} · Reelseek` : "Reelseek";
  enter(...rest);
  if (isMoved) focusPlace();
}

/** Stop what the shown place follows. */
export function leavePlace() {
  if (current) places.get(current).leave();
  current = null;
}

/** Put the focus where the shown place begins. */
function focusPlace() {
  const start = current === "search" ? $("query") : $(`place-${current}`).querySelector("h2");
  if (start.tabIndex < 0) start.tabIndex = -1;
  start.focus();
}

export function startPlaces() {
  window.addEventListener("hashchange", () => {
    if ($("app").hidden) return;
    showPlace({ isMoved: true });
  });
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    if (current) focusPlace();
    else $("token").focus();
  });
}
