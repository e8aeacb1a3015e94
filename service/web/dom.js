// Small things that every part of the page uses.

export const $ = (id) => document.getElementById(id);

/** Make an element. Text is always set as text, never parsed as HTML. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Seconds as 1:02:03 or 2:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const h = Math.floor(whole / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const s = String(whole % 60).padStart(2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

export function splitTags(text) {
  return [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** A time that is to come or has passed, in words: "about 3 min". */
export function lasting(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `about ${plural(Math.round(seconds), "second")}`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `about ${plural(Math.round(seconds / 3600), "hour")}`;
  return `about ${plural(Math.round(seconds / 86400), "day")}`;
}

/** Bytes as 1.2 GB. */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const value = bytes / 1000 ** step;
  return `${value.toFixed(value < 10 && step ? 1 : 0)} ${units[step]}`;
}

/** A date and time of the API as people of this browser write it. */
export function when(iso) {
  return element("time", { dateTime: iso }, new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
}

/** A button that does one thing at a time; a failure is told where `say` puts it. */
export function action(text, act, { className = "plain small", say, ...attributes } = {}) {
  const button = element("button", { type: "button", className, ...attributes }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    say?.("");
    try {
      await act(button);
    } catch (error) {
      if (!say) throw error;
      say(error.message);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/** A table with a caption for screen readers; cells may be texts or nodes, the first of a row names it. */
export function table(caption, heads, lines) {
  const cells = (line) => line.map((cell, place) =>
    element(place ? "td" : "th", place ? {} : { scope: "row" }, cell ?? ""));
  return element("div", { className: "table", tabIndex: 0, role: "region", "aria-label": caption },
    element("table", {}, element("caption", { className: "visually-hidden" }, caption),
      heads.length ? element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))) : null,
      element("tbody", {}, ...lines.map((line) => element("tr", {}, ...cells(line))))));
}

/** A control with its label around it, as forms have them. */
export function field(label, control) {
  return element("label", {}, label, " ", control);
}

/** A box to tick, with what it means. */
export function tick(label, attributes) {
  return element("label", { className: "check" }, element("input", { type: "checkbox", ...attributes }), ` ${label}`);
}
