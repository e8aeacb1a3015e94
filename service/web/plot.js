// Small plots as SVG: lines over steps or runs, and bars. Colours are those of the style sheet.

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 640;
const HEIGHT = 240;
const MARGIN = { top: 14, right: 16, bottom: 42, left: 68 };
const MOST_POINTS = 400;

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Round numbers that cover a span, about `count` of them. */
export function ticks(low, high, count = 4) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step / 1e6; at += 1) found.push(Number((at * step).toPrecision(10)));
  return found;
}

/** Every nth point, so that there are not too many; the last one always. */
function thinned(points) {
  const every = Math.ceil(points.length / MOST_POINTS);
  return points.filter((_, place) => place % every === 0 || place === points.length - 1);
}

function bounds(values, { from, to }) {
  const low = from ?? Math.min(...values);
  const high = to ?? Math.max(...values);
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

/**
 * Draw lines.
 *
 * @param label what a screen reader says of the plot.
 * @param lines [{name, points: [{x, y, note}]}]; points with a note get a mark that says it.
 * @param xTicks [{x, text}]; round numbers if left out.
 * @param y {from, to, format} of the vertical axis; from what is drawn if left out.
 */
export function linePlot({ label, lines, xTicks, xLabel, y = {} }) {
  const points = lines.flatMap((line) => line.points);
  const [left, right] = bounds(points.map((point) => point.x), {});
  const [low, high] = bounds(points.map((point) => point.y), y);
  const format = y.format ?? ((value) => String(value));
  const across = (value) => MARGIN.left + ((value - left) / (right - left)) * (WIDTH - MARGIN.left - MARGIN.right);
  const up = (value) => HEIGHT - MARGIN.bottom - ((value - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const svg = shape("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const value of ticks(low, high)) {
    svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: up(value), y2: up(value) }),
      shape("text", { x: MARGIN.left - 8, y: up(value) + 4, "text-anchor": "end" }, format(value)));
  }
  const below = xTicks ?? ticks(left, right, 6).filter(Number.isInteger).map((x) => ({ x, text: x.toLocaleString() }));
  for (const { x, text } of below) {
    const anchor = xTicks && x === left ? "start" : xTicks && x === right ? "end" : "middle"; // long names stay inside
    svg.append(shape("text", { x: across(x), y: HEIGHT - MARGIN.bottom + 20, "text-anchor": anchor }, text));
  }
  if (xLabel) svg.append(shape("text", { x: WIDTH - MARGIN.right, y: HEIGHT - 7, "text-anchor": "end" }, xLabel));
  lines.forEach((line, number) => {
    const path = thinned(line.points).map((point, place) => `${place ? "L" : "M"}${across(point.x).toFixed(1)} ${up(point.y).toFixed(1)}`);
    svg.append(shape("path", { class: `line line-${number}`, d: path.join("") }));
    for (const point of line.points.filter((each) => each.note || line.points.length === 1)) {
      svg.append(shape("circle", { class: `mark line-${number}`, cx: across(point.x), cy: up(point.y), r: 4 },
        shape("title", {}, point.note ?? format(point.y))));
    }
  });
  return svg;
}

/** The names of the lines of a plot, with their colours. */
export function legend(names) {
  const list = document.createElement("ul");
  list.className = "legend";
  names.forEach((name, number) => {
    const item = document.createElement("li");
    item.append(shape("svg", { viewBox: "0 0 16 8", width: 16, height: 8, "aria-hidden": "true" },
      shape("path", { class: `line line-${number}`, d: "M0 4H16" })), ` ${name}`);
    list.append(item);
  });
  return list;
}

/** Draw one bar for each value, from the least to the highest of `bounds`. */
export function bars(label, values, [low, high]) {
  const width = 22;
  const svg = shape("svg", { class: "plot bars", viewBox: `0 0 ${values.length * width} 64`, role: "img", "aria-label": label });
  values.forEach(({ value, note }, place) => {
    const tall = Math.max(1, ((value - low) / (high - low || 1)) * 60);
    svg.append(shape("rect", { class: "bar", x: place * width + 2, y: 62 - tall, width: width - 4, height: tall, rx: 2 },
      shape("title", {}, note)));
  });
  return svg;
}

/** The mean of each value with those before it, `over` of them. */
export function smoothed(points, over) {
  let sum = 0;
  return points.map((point, place) => {
    sum += point.y - (place >= over ? points[place - over].y : 0);
    return { x: point.x, y: sum / Math.min(place + 1, over) };
  });
}
