// Plays one span of a video: starts at its first second, pauses once at its end.
import { element } from "./dom.js";

/** Return a <video> that plays [start, end); after the pause the viewer may go on. */
export function spanPlayer(url, start, end, label) {
  const video = element("video", {
    controls: true, autoplay: true, playsInline: true, preload: "metadata",
    "aria-label": label, src: `${url.split("#")[0]}#t=${start},${end}`,
  });
  let isSpanOver = false;
  video.addEventListener("loadedmetadata", () => {
    if (Math.abs(video.currentTime - start) > 0.05) video.currentTime = start;
  });
  video.addEventListener("timeupdate", () => {
    if (!isSpanOver && video.currentTime >= end) {
      isSpanOver = true;
      video.pause();
    }
  });
  video.addEventListener("error", () => {
    video.replaceWith(element("p", { className: "error", role: "alert" },
      "This browser cannot play the file's format. ",
      element("a", { href: url.split("#")[0], download: "" }, "Download it"), " to watch it elsewhere."));
  });
  return video;
}
