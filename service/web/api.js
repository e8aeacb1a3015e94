// Calls to the REST API. Every failure becomes an ApiError with a sentence for people.

export class ApiError extends Error {
  constructor(status, problem) {
    super(sentence(status, problem));
    this.status = status;
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
export async function call(method, path, body, { signal } = {}) {
  const options = { method, signal, headers: { Accept: "application/json" } };
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
  const data = parse(text);
  if (!response.ok) throw fail(response.status, data);
  return data;
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

/** Upload one file as multipart; `onProgress` gets the share sent, 0 to 1. */
export function upload(file, onProgress, onStart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, file.name);
    request.open("POST", "/v1/videos");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const data = parse(request.responseText);
      if (request.status >= 200 && request.status < 300) resolve(data);
      else reject(fail(request.status, data));
    };
    request.onerror = () => reject(new ApiError(0, null));
    request.onabort = () => reject(new ApiError(0, { detail: "Cancelled." }));
    onStart(() => request.abort());
    request.send(form);
  });
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

function fail(status, problem) {
  if (status === 401) window.dispatchEvent(new Event("signed-out"));
  return new ApiError(status, problem);
}
