// Calls to the REST API. Every failure becomes an ApiError with a sentence for people.

export class ApiError extends Error {
  constructor(status, problem, retryAfterS = null) {
    super(sentence(status, problem));
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.reason = problem?.reason;
    this.errors = problem?.errors ?? []; // one for each wrong field or line: {path, message}
  }
}

function sentence(status, problem) {
  if (problem?.detail) return problem.detail;
  if (status === 0) return "The server does not answer. Check that it runs, then try again.";
  return `The server answered ${status}. Try again, and look at its log if it stays so.`;
}

/** Send a request with JSON, or a file, as its body; return the parsed JSON, or null where the answer has no body. */
export async function call(method, path, body, { signal, headers } = {}) {
  const options = { method, signal, headers: { Accept: "application/json", ...headers } };
  if (body instanceof Blob) {
    options.headers["Content-Type"] = "application/octet-stream";
    options.body = body;
  } else if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, null);
  }
  const text = await response.text();
  if (!response.ok) throw failure(response.status, text, response.headers.get("Retry-After"));
  return parse(text);
}

/** Return all items of a list that comes in pages, `most` at most, and whether there are more. */
export async function collect(path, key, most = 1000) {
  const items = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: 200, ...(cursor ? { cursor } : {}) });
    const answer = await call("GET", `${path}?${query}`);
    items.push(...answer[key]);
    cursor = answer.next_cursor;
  } while (cursor && items.length < most);
  return { items, hasMore: Boolean(cursor) };
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** Return what a refused request throws; if nobody is signed in, the page shows that. */
export function failure(status, text, retryAfter) {
  if (status === 401) window.dispatchEvent(new Event("signed-out"));
  return new ApiError(status, parse(text), secondsIn(retryAfter));
}

function secondsIn(retryAfter) {
  if (!retryAfter) return null;
  const seconds = Number(retryAfter);
  return Number.isNaN(seconds) ? Math.max(0, (Date.parse(retryAfter) - Date.now()) / 1000) : seconds;
}
