// Follow something that goes on, by server-sent events; where no stream can be had, by asking again and again.

const POLL_MS = 1500;

/**
 * Follow a stream until its `end`; return what stops following.
 *
 * @param url of the events.
 * @param handlers by the name of an event, each gets its data.
 * @param poll asks once; returns whether it is over. Used when the stream is refused.
 */
export function follow(url, handlers, poll) {
  let isOver = false;
  let timer = 0;
  const source = new EventSource(url);
  const stop = () => {
    isOver = true;
    clearTimeout(timer);
    source.close();
  };
  const ask = async () => {
    if (isOver) return;
    const isDone = await poll().catch(() => false);
    if (isDone) stop();
    else if (!isOver) timer = setTimeout(ask, POLL_MS);
  };
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => {
      if (isOver) return;
      if (name === "end") stop();
      handle(JSON.parse(event.data));
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED && !isOver) ask(); // else the browser connects again by itself
  });
  return stop;
}
