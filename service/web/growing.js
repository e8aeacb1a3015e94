// A list that comes in pages: the first one, and more when a person asks for it.
import { action, element } from "./dom.js";

/**
 * Return the list as a node; `refresh` brings the shown pages up to date, `begin` shows the first one again.
 *
 * @param load gets a cursor (null: the first page); returns {items, next}.
 * @param draw gets all items that are shown; returns a node.
 */
export function growing({ load, draw, empty = "None yet.", more = "More", say }) {
  const body = element("div");
  const button = action(more, () => show(pages + 1), { say, hidden: true });
  let items = [];
  let pages = 1;
  let newest = 0;
  let drawn = "";

  async function show(wanted) {
    newest += 1;
    const mine = newest;
    const found = [];
    let next = null;
    for (let page = 0; page < wanted && (page === 0 || next !== null); page += 1) {
      const answer = await load(next);
      found.push(...answer.items);
      next = answer.next;
    }
    if (mine !== newest) return;
    items = found;
    pages = wanted;
    button.hidden = next === null;
    const key = JSON.stringify(items);
    if (key === drawn) return; // what was unfolded stays so
    drawn = key;
    body.replaceChildren(items.length ? draw(items) : element("p", { className: "quiet" }, empty));
  }

  return { node: element("div", {}, body, button), refresh: () => show(pages), begin: () => show(1), items: () => items };
}
