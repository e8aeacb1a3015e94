// Uploads in pieces, by the protocol tus 1.0: what the server has acknowledged is safe, whatever breaks then.
import { ApiError, call, failure } from "./api.js";

// A line that is dead without saying so: no byte left for so long, or no answer to all of them.
const STALLED_MS = 20000;
const UNANSWERED_MS = 300000;
const TUS = { "Tus-Resumable": "1.0.0" };

/** Begin an upload; return it. The same key again, after an answer was lost, is the same upload. */
export function beginUpload(file, key) {
  const headers = { ...TUS, "Upload-Length": file.size, "Upload-Metadata": `filename ${base64(file.name)}`, "Idempotency-Key": key };
  return call("POST", "/v1/uploads", undefined, { headers });
}

export function endUpload(address) {
  return call("DELETE", address, undefined, { headers: TUS });
}

/** Send one piece that begins at `offset`; `onSent` gets its bytes that left so far. */
export function sendPiece(address, offset, piece, { onSent, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not say how much was sent
    request.open("PATCH", address);
    const headers = { ...TUS, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    let timer = 0;
    const watch = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), ms);
    };
    request.upload.onprogress = (event) => {
      watch(event.loaded < piece.size ? STALLED_MS : UNANSWERED_MS);
      onSent(event.loaded);
    };
    request.upload.onload = () => watch(UNANSWERED_MS);
    request.onloadend = () => clearTimeout(timer);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve();
      else reject(failure(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(new ApiError(0, null));
    request.onabort = () => reject(new ApiError(0, { detail: "The connection stands still." }));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    watch(STALLED_MS);
    request.send(piece);
  });
}

/** A key that no other request has, also where the page is not served by TLS. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
