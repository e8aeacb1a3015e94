// Starts the page: sign in with the one-time link, then the place that the address names.
import { call } from "./api.js";
import { startCaptions } from "./captions.js";
import { $, plural, size } from "./dom.js";
import { enterEvaluation, leaveEvaluation, startEvaluation } from "./evaluation.js";
import { startExplain } from "./explain.js";
import { startFeedback } from "./feedback.js";
import { enterImports, leaveImports } from "./imports.js";
import { enterModels, leaveModels } from "./models.js";
import { addPlace, leavePlace, showPlace, startPlaces } from "./places.js";
import { searchFromAddress, startSearch } from "./search.js";
import { startSecret } from "./secret.js";
import { enterSettings, leaveSettings } from "./settings.js";
import { enterTuning, leaveTuning, startTuning } from "./tuning.js";
import { cancelUploads, resumeUploads, startUploads } from "./uploads.js";
import { refreshVideos, startVideos, stopVideos } from "./videos.js";

const RETRY_MS = 2000;

/** The token in a pasted link or in the address (#login=...), or the text itself. */
function tokenIn(text) {
  return new URLSearchParams(text.split("#").pop()).get("login") ?? text.trim();
}

async function redeem(token) {
  await call("POST", "/v1/session", { token });
}

function showSignIn() {
  leavePlace();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("app").hidden = true;
  $("places").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  $("system").textContent = "";
  $("token").focus();
}

/** Show the app if the browser is signed in. */
async function enter() {
  let system;
  let scopes;
  try {
    [system, { scopes }] = await Promise.all([call("GET", "/v1/system"), call("GET", "/v1/session")]);
  } catch (error) {
    if (error.status === 401) return;
    $("system").textContent = error.message;
    setTimeout(enter, RETRY_MS);
    return;
  }
  showSystem(system);
  $("sign-in").hidden = true;
  $("app").hidden = false;
  $("places").hidden = false;
  $("settings-link").hidden = !scopes.includes("admin");
  $("sign-out").hidden = false;
  showPlace();
  resumeUploads();
}

/** The search page: the videos are looked after while it is shown; the address is searched once. */
function enterSearch() {
  refreshVideos();
  if (!$("moments").children.length) searchFromAddress();
  if (!location.search) $("query").focus();
}

function showSystem(system) {
  // The example and the demo are of the world that the bundled model knows, and of no other.
  const isBundled = system.model?.name === "bundled";
  $("query").placeholder = `What happens in it?${isBundled ? " For example: a green star falls down" : ""}`;
  $("demo-hint").hidden = !isBundled;
  $("upload-limits").textContent = `Files of up to ${size(system.limits.upload_limit_bytes)}; an upload goes on after a break or a reload.`;
  $("system").textContent = summary(system);
}

function summary(system) {
  return [system.model && `Model ${system.model.name}`, `${plural(system.segments, "segment")} indexed`].filter(Boolean).join(" · ");
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("sign-in-error").textContent = "";
  try {
    await redeem(tokenIn($("token").value));
    $("token").value = "";
    enter();
  } catch (error) {
    $("sign-in-error").textContent = error.message;
  }
});
$("sign-out").addEventListener("click", async () => {
  await cancelUploads();
  await call("DELETE", "/v1/session").catch(() => {});
  showSignIn();
});
window.addEventListener("signed-out", showSignIn);
window.addEventListener("videos-changed", async () => {
  const system = await call("GET", "/v1/system").catch(() => null);
  if (system) showSystem(system);
});

addPlace("search", { enter: enterSearch, leave: stopVideos });
addPlace("tuning", { title: "Tuning", enter: enterTuning, leave: leaveTuning });
addPlace("models", { title: "Models", enter: enterModels, leave: leaveModels });
addPlace("evaluation", { title: "Evaluation", enter: enterEvaluation, leave: leaveEvaluation });
addPlace("imports", { title: "Imports", enter: enterImports, leave: leaveImports });
addPlace("settings", { title: "Settings", enter: enterSettings, leave: leaveSettings });
startPlaces();
startSecret();
startSearch();
startFeedback();
startExplain();
startCaptions();
startTuning();
startEvaluation();
startUploads(refreshVideos);
startVideos();

/** Sign in with the link that was opened, in a new tab or in this one. */
async function enterByAddress() {
  if (location.hash.startsWith("#login=")) {
    const token = tokenIn(location.hash);
    history.replaceState(null, "", location.pathname + location.search); // the secret leaves the address bar
    try {
      await redeem(token);
    } catch (error) {
      $("sign-in-error").textContent = error.message;
    }
  }
  enter();
}

window.addEventListener("hashchange", () => {
  if (location.hash.startsWith("#login=")) enterByAddress();
});
enterByAddress();
