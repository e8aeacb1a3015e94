// What imports and their files are called.

export const ITEM_STATES = { waiting: "Waiting", accepted: "Taken", duplicate: "Here already", refused: "Refused" };

export function nameOf(each) {
  if (each.kind === "folder") return `Folder ${each.folder}`;
  if (each.kind === "bucket") return each.bucket;
  return "By addresses";
}

export function countsOf({ items, is_listed: isListed }) {
  const counts = Object.entries(ITEM_STATES).filter(([state]) => items[state])
    .map(([state, words]) => `${items[state].toLocaleString()} ${words.toLowerCase()}`);
  if (!isListed) counts.push("still being listed");
  return counts.join(", ") || "no videos";
}
