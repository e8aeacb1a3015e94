// What this installation is and keeps to: its index, what it holds, its limits.
import { call } from "./api.js";
import { element, lasting, plural, size, table } from "./dom.js";

const REFRESH_MS = 10000;
const KINDS = {
  flat_fp16: "scans every segment (16 bits a number)", flat_fp32: "scans every segment (32 bits a number)", flat_int8: "scans every segment (8 bits a number)",
  hnsw: "graph of near segments (HNSW)", ivf_flat: "cells of near segments (IVF)", ivf_pq: "cells of near segments, compressed (IVF, PQ)",
  milvus: "Milvus server",
};

export async function showInstallation(part) {
  const body = element("div");
  part.place.append(body);
  await look();

  async function look() {
    try {
      draw(body, await call("GET", "/v1/system"));
      part.say("");
    } catch (error) {
      part.say(error.message);
    }
    part.later(look, REFRESH_MS);
  }
}

function draw(body, system) {
  body.replaceChildren(
    element("h3", {}, "Search"), table("Search", [], search(system)),
    element("h3", {}, "What it holds"), table("What it holds", [], holdings(system)),
    element("h3", {}, "What it accepts"), table("What it accepts", [], accepts(system.limits)));
}

function search({ version, model, replica, notice }) {
  const { index } = replica;
  return [["Reelseek", version], ["Model", model ? model.name : "none yet"], notice ? ["Notice", notice] : null,
    ["Index", index ? KINDS[index.kind] ?? index.kind : "is being loaded"],
    index ? ["Segments that can be found", index.num_segments === null ? "not known: the server does not answer" : index.num_segments.toLocaleString()] : null,
    index ? ["Recall", recall(index)] : null,
    ["Behind the database", replica.lag ? plural(replica.lag, "change") : "no"]].filter(Boolean);
}

function recall({ recall: share, effort, num_texts: texts }) {
  if (share === null) return "not measured";
  if (effort === null && share === 1) return "100 %: nothing is left out";
  const measured = texts ? `measured with ${plural(texts, "text")} that were searched, and embeddings of segments` : "measured with embeddings of segments";
  return `${(100 * share).toFixed(1)} % of the exact answer, ${measured}`;
}

function holdings({ videos, jobs, segments, stored_bytes: stored, disk_free_bytes: free }) {
  const counts = (found) => Object.entries(found).filter(([, number]) => number).map(([state, number]) => `${number.toLocaleString()} ${state}`).join(", ") || "none";
  return [["Videos", counts(videos)], ["Segments", segments.toLocaleString()], ["Jobs", counts(jobs)], ["Files", size(stored)], ["Free on its disk", size(free)]];
}

function accepts(limits) {
  return [["Largest file", size(limits.upload_limit_bytes)], ["Longest video", lasting(limits.video_limit_s).replace("about ", "")],
    ["Largest frame", `${(limits.video_limit_pixels / 1e6).toFixed(1)} megapixels`]];
}
