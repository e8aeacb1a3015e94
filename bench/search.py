"""Search over HTTP: latency, throughput, and the part that is neither the model nor FAISS.

Starts the real server on a synthetic gallery and loads it with clients that each ask one query
after another, every query another text. `python bench/search.py --help` lists the options.
"""

import argparse
import http.client
import json
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _search_gallery import fill
from _server import serving

from service.settings import Settings

MODEL_OR_FAISS = ("embed", "match", "faiss")
SUBJECTS = ("a red circle", "two blue squares", "a green triangle", "a small dog", "a yellow ball")
EVENTS = ("moves to the left", "grows", "appears, then moves", "meets a red square", "shrinks")


@dataclass(frozen=True)
class Asked:
    """One search: how long it took, and what the server says of it."""

    took_ms: float
    stages_ms: dict[str, float]
    is_degraded: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; times in milliseconds."""

    segments: int
    clients: int
    rerank_depth: int
    searches: int
    errors: int
    degraded: int
    per_s: float
    p50: float
    p95: float
    p99: float
    faiss_p50: float
    model_p50: float
    rest_p50: float
    rest_p95: float


def main() -> None:
    """Measure every combination and print the table, and JSON if wanted."""
    options = _options()
    rows = []
    for segments in options.segments:
        with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
            settings = Settings(data_dir=Path(folder), bundle=options.bundle, database_url=None)
            began = time.monotonic()
            fill(settings, segments)
            filled_s = time.monotonic() - began
            environment = {"REELSEEK_SEARCH_DEADLINE_MS": "60000"}  # all is re-ranked, however late
            if options.bundle:
                environment["REELSEEK_BUNDLE"] = str(options.bundle.absolute())
            with serving(settings, environment=environment) as server:
                port, key = server.port, server.key
                ready_s = time.monotonic() - began - filled_s
                print(f"{segments} segments: filled in {filled_s:.1f} s, ready in {ready_s:.1f} s")
                for clients in options.clients:
                    for depth in options.rerank_depths:
                        _load(port, key, clients=clients, depth=depth, seconds=options.warm_up)
                        row = _measure(
                            port,
                            key,
                            segments=segments,
                            clients=clients,
                            depth=depth,
                            seconds=options.seconds,
                        )
                        rows.append(row)
                        _print_row(row, with_head=len(rows) == 1)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--rerank-depths", type=int, nargs="+", default=[0, 16])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before each")
    parser.add_argument("--bundle", type=Path, help="the bundled one by default")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser.parse_args()


def _measure(
    port: int, key: str, *, segments: int, clients: int, depth: int, seconds: float
) -> Row:
    began = time.monotonic()
    asked, errors = _load(port, key, clients=clients, depth=depth, seconds=seconds)
    took_s = time.monotonic() - began
    if not asked:
        raise SystemExit(f"All {errors} searches failed.")
    whole = [one.took_ms for one in asked]
    rest = [
        one.stages_ms["total"] - sum(one.stages_ms.get(name, 0.0) for name in MODEL_OR_FAISS)
        for one in asked
    ]
    model = [one.stages_ms["embed"] + one.stages_ms.get("match", 0.0) for one in asked]
    return Row(
        segments=segments,
        clients=clients,
        rerank_depth=depth,
        searches=len(asked),
        errors=errors,
        degraded=sum(one.is_degraded for one in asked),
        per_s=round(len(asked) / took_s, 1),
        p50=_percentile(whole, 50),
        p95=_percentile(whole, 95),
        p99=_percentile(whole, 99),
        faiss_p50=_percentile([one.stages_ms["faiss"] for one in asked], 50),
        model_p50=_percentile(model, 50),
        rest_p50=_percentile(rest, 50),
        rest_p95=_percentile(rest, 95),
    )


def _load(
    port: int, key: str, *, clients: int, depth: int, seconds: float
) -> tuple[list[Asked], int]:
    """Let clients ask for some time; return what was answered, and how many errors there were."""
    asked: list[Asked] = []
    errors: list[str] = []
    until = time.monotonic() + seconds

    def ask_on(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        random = np.random.default_rng([client, time.monotonic_ns()])
        while time.monotonic() < until:
            try:
                asked.append(_ask(connection, key, _text(random), depth))
            except (OSError, http.client.HTTPException, ValueError) as error:
                errors.append(str(error))
                connection.close()
        connection.close()

    threads = [threading.Thread(target=ask_on, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in sorted(set(errors))[:3]:
        print("error:", error)
    return asked, len(errors)


def _ask(connection: http.client.HTTPConnection, key: str, text: str, depth: int) -> Asked:
    body = json.dumps({"text": text, "rerank_depth": depth})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    began = time.monotonic()
    connection.request("POST", "/v1/search", body, headers)
    response = connection.getresponse()
    content = response.read()
    took_ms = (time.monotonic() - began) * 1000
    if response.status != http.client.OK:
        raise ValueError(f"{response.status}: {content[:200]!r}")
    parts = (stage.split(";dur=") for stage in response.headers["Server-Timing"].split(", "))
    stages_ms = {name: float(duration) for name, duration in parts}
    return Asked(took_ms, stages_ms, json.loads(content)["degraded"])


def _text(random: np.random.Generator) -> str:
    """Return a text that was never asked before: nothing is remembered of it."""
    subject, event = random.choice(SUBJECTS), random.choice(EVENTS)
    return f"{subject} {event} {random.integers(10**9)}"


def _percentile(values: list[float], percent: int) -> float:
    return round(float(np.percentile(values, percent)), 1)


def _print_row(row: Row, *, with_head: bool) -> None:
    fields = asdict(row)
    if with_head:
        print("| " + " | ".join(fields) + " |")
        print("|" + "---|" * len(fields))
    print("| " + " | ".join(str(value) for value in fields.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
