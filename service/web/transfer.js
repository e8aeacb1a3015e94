// One upload, from its first byte to its video: it waits out what passes, and goes on where it stopped.
import { ApiError, call } from "./api.js";
import { forgetUpload, hold, keepUpload } from "./kept.js";
import { beginUpload, endUpload, newKey, sendPiece } from "./tus.js";

// A piece is a few seconds of the line: what breaks off in it may have to be sent again, what is behind it never.
const SMALLEST_PIECE = 2 ** 20;
const LARGEST_PIECE = 2 ** 25;
const MOST_PIECES = 10000;
const [QUICK_S, SLOW_S] = [2, 6];
const LONGEST_WAIT_S = 30;
const PASSING = [0, 401, 408, 425, 429, 500, 502, 503, 504];
const PASSING_REASONS = ["offset_mismatch", "upload_ended", "idempotency_in_progress"];
const FOR_GOOD = [413, 415, 422]; // nothing that is sent again becomes another file

/**
 * The upload of one file. `onChange` is called with it whenever something changed.
 *
 * `phase` is `waiting` (its turn comes), `sending`, `checking`, `held` (`error` and `waitS` say why and how long),
 * `paused`, `stopped` (its file has to be chosen again), `done`, `failed` or `cancelled`.
 */
export class Transfer {
  #abort = new AbortController();
  #wake = () => {};
  #onChange;

  constructor({ name, size, lastModified, file = null, address = null, key = newKey() }, onChange) {
    Object.assign(this, { name, size, lastModified, file, address, key, sent: 0, error: null, waitS: 0, tries: 0 });
    this.isDuplicate = false;
    this.leastBytes = Math.max(SMALLEST_PIECE, Math.ceil(size / MOST_PIECES));
    this.pieceBytes = this.leastBytes;
    this.rate = null; // bytes a second
    this.#onChange = onChange;
    this.phase = file ? "waiting" : "stopped";
  }

  get isOver() {
    return ["done", "failed", "cancelled"].includes(this.phase);
  }

  get mayRetry() {
    return this.phase === "failed" && !FOR_GOOD.includes(this.error.status);
  }

  isOf(file) {
    return file.name === this.name && file.size === this.size && file.lastModified === this.lastModified;
  }

  /** Send until it is over, paused or cancelled; failures that pass are waited out. */
  async run() {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        await this.#send(signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        const cause = error.status === 0 ? await this.#readable(error) : error;
        if (!passes(cause)) {
          await this.#end("failed", cause);
          return;
        }
        await this.#wait(cause, signal);
      }
    }
  }

  pause() {
    this.#set("paused");
    this.#abort.abort();
    this.#wake();
  }

  /** Try now instead of later. */
  hurry() {
    this.#wake();
  }

  /** Give it its turn (again). */
  queue(file = this.file) {
    this.file = file;
    this.tries = 0;
    this.#set("waiting");
  }

  async cancel() {
    const { address } = this;
    this.#set("cancelled");
    this.#abort.abort();
    this.#wake();
    if (!address) return;
    await forgetUpload(address);
    await endUpload(address).catch(() => {}); // else it expires
  }

  async #send(signal) {
    let known = await this.#locate(signal);
    while (known.state === "open") {
      const { offset } = known;
      const piece = this.file.slice(offset, offset + this.pieceBytes);
      await this.#sendPiece(offset, piece, signal);
      this.tries = 0;
      const next = offset + piece.size;
      known = next < this.size ? { ...known, offset: next } : await call("GET", this.address, undefined, { signal });
    }
    if (known.state === "refused") throw new ApiError(422, known);
    const video = await call("GET", known.links.video, undefined, { signal });
    this.isDuplicate = Date.parse(video.created_at) < Date.parse(known.created_at);
    await this.#end("done");
  }

  /** Return what the server has of it; begin it if that is nothing. */
  async #locate(signal) {
    this.#set("sending");
    if (this.address) {
      try {
        return await call("GET", this.address, undefined, { signal });
      } catch (error) {
        if (error.status !== 404) throw error;
        await this.#forget(); // it expired, so all of it is sent again
      }
    }
    const begun = await beginUpload(this.file, this.key);
    this.address = begun.links.self;
    if (signal.aborted) {
      if (this.phase === "cancelled") await this.cancel();
      throw new ApiError(0, null);
    }
    await hold(this.address);
    await keepUpload(this);
    return begun;
  }

  async #sendPiece(offset, piece, signal) {
    const began = performance.now();
    this.sent = offset;
    this.#set("sending");
    const onSent = (bytes) => {
      this.sent = offset + bytes;
      const seconds = (performance.now() - began) / 1000;
      if (seconds > 0.5) this.rate = bytes / seconds;
      this.#set(this.sent < this.size ? "sending" : "checking");
    };
    await sendPiece(this.address, offset, piece, { onSent, signal });
    this.#measure((performance.now() - began) / 1000);
  }

  #measure(seconds) {
    if (seconds < QUICK_S) this.pieceBytes *= 2;
    if (seconds > SLOW_S) this.pieceBytes /= 2;
    this.pieceBytes = Math.round(Math.max(this.leastBytes, Math.min(LARGEST_PIECE, this.pieceBytes)));
  }

  async #wait(error, signal) {
    this.tries += 1;
    const steady = Math.min(LONGEST_WAIT_S, 2 ** Math.min(this.tries, 6) / 2) * (0.75 + Math.random() / 2);
    this.waitS = error.status === 401 ? Infinity : Math.max(error.retryAfterS ?? 0, steady);
    this.error = error;
    this.#set("held");
    await new Promise((resolve) => {
      this.#wake = resolve;
      window.addEventListener("online", resolve, { once: true });
      signal.addEventListener("abort", resolve, { once: true });
      if (this.waitS < Infinity) setTimeout(resolve, Math.min(this.waitS, 86400) * 1000);
    });
  }

  /** A request that got no answer: because the file is gone, or as it says? */
  async #readable(error) {
    try {
      await this.file.slice(0, 1).arrayBuffer();
      return error;
    } catch {
      return new ApiError(422, { detail: `${this.name} cannot be read any more: it was changed or moved. Choose it again.` });
    }
  }

  async #end(phase, error = null) {
    this.error = error;
    if (phase === "done" || FOR_GOOD.includes(error.status)) await this.#forget();
    this.#set(phase);
  }

  async #forget() {
    if (this.address) await forgetUpload(this.address);
    this.address = null;
    this.key = newKey();
  }

  #set(phase) {
    const isEnded = this.phase === "cancelled" || (this.phase === "paused" && phase !== "waiting" && phase !== "cancelled");
    if (!isEnded) this.phase = phase;
    this.#onChange(this);
  }
}

function passes(error) {
  return PASSING.includes(error.status) || (error.status === 409 && PASSING_REASONS.includes(error.reason));
}
