"""Does a switch of models disturb search? A steady load through the whole of one.

    python bench/switching.py [--segments 20000] [--rate 20]

Starts the API, a worker and a tuner on a gallery of so many segments, asks so many searches a
second, first while nothing else happens, then while the gallery is embedded with another model and
the service switches to it. Every answer is checked afterwards: its receipt names one model and one
generation that belong together, and the similarities that it shows are those of that model.
"""

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from _candidates import make_candidate
from _load import Asked, Load
from _search_gallery import fill, gallery_clips
from _server import Server, serving

from model.bundle import load_bundle
from model.retrieval import RetrievalModel
from service.settings import Settings

TOLERANCE = 5e-3
"""Stored embeddings have half precision, and each process takes the type that is quicker."""
BATCH = 50
POLL_S = 0.5
AFTER_S = 10.0


def main() -> None:
    """Measure, and print what the docs show."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data", bundle=None, database_url=None)
        settings.data_dir.mkdir()
        fill(settings, options.segments, is_real=True)
        candidate = make_candidate(settings.bundle_path, Path(folder) / "candidate")
        environment = {"REELSEEK_REEMBED_SHARE": str(options.share)}
        with serving(settings, with_workers=True, environment=environment) as server:
            add_model(candidate, settings.data_dir)
            quiet, busy, facts = drive(server, options)
        if facts["activation"]["state"] != "done":
            print(settings.data_dir.joinpath("2.log").read_text()[-4000:])
        models = {"before": load_bundle(settings.bundle_path), "after": load_bundle(candidate)}
        wrong = check_answers([*quiet, *busy], models, facts["versions"])
    print_rows(quiet, busy, wrong, facts, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=20.0, help="searches a second")
    parser.add_argument("--quiet-s", type=float, default=60.0, help="of load before the switch")
    parser.add_argument("--rerank-depth", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="REELSEEK_REEMBED_SHARE")
    return parser.parse_args()


def add_model(bundle: Path, data_dir: Path) -> None:
    """Register a bundle, as its user would."""
    command = ("-m", "service.cli", "models", "add", str(bundle), "--name", "candidate")
    environment = {**os.environ, "REELSEEK_DATA_DIR": str(data_dir)}
    subprocess.run([sys.executable, *command], env=environment, check=True)


def drive(
    server: Server, options: argparse.Namespace
) -> tuple[list[Asked], list[Asked], dict[str, Any]]:
    """Ask on and on; switch meanwhile. Returns what was asked before and from then on."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=60
    ) as client:
        load = Load(server, options.rate, options.rerank_depth)
        load.start()
        time.sleep(options.quiet_s)
        listed = client.get("/v1/models").raise_for_status().json()["models"]
        before = next(one["id"] for one in listed if one["state"] == "active")
        after = next(one["id"] for one in listed if one["name"] == "candidate")
        began_s = load.now_s
        asked = client.post(f"/v1/models/{after}/activate").raise_for_status().json()
        activation = _wait(client, f"/v1/activations/{asked['activation_id']}")
        done_s = load.now_s
        time.sleep(AFTER_S)
        answers = load.stop()
    facts = {
        "versions": {before: "before", after: "after"},
        "took_s": done_s - began_s,
        "activation": activation,
    }
    quiet = [one for one in answers if one.at_s < began_s]
    return quiet, [one for one in answers if one.at_s >= began_s], facts


def _wait(client: httpx.Client, path: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = client.get(path).raise_for_status().json()
        if found["state"] in {"done", "failed", "cancelled"}:
            return found
        time.sleep(POLL_S)


def check_answers(
    asked: Sequence[Asked], models: Mapping[str, RetrievalModel], versions: Mapping[str, str]
) -> Counter[str]:
    """Count the answers that are wrong, by what is wrong with them."""
    wrong: Counter[str] = Counter()
    of_generation: dict[str, str] = {}
    best = {name: best_similarities(model, asked) for name, model in models.items()}
    apart = np.abs(best["before"] - best["after"])
    print(f"similarities of the two models differ by {np.median(apart):.4f} (median)")
    off = []
    for number, one in enumerate(asked):
        if one.status != http.client.OK:
            wrong[f"status {one.status}: {one.answer.get('detail')}"] += 1
            continue
        receipt, moments = one.answer["receipt"], one.answer["moments"]
        version = versions.get(receipt["model_version_id"])
        if (
            version is None
            or of_generation.setdefault(receipt["generation_id"], version) != version
        ):
            wrong["mixes versions"] += 1
            continue
        shown = max(each["similarity"] for each in moments)
        off.append(abs(shown - best[version][number]))
        if off[-1] > TOLERANCE:
            wrong["similarities of another model"] += 1
    print(f"shown similarities are at most {max(off):.4f} from those of the model on the receipt")
    return wrong


def best_similarities(model: RetrievalModel, asked: Sequence[Asked]) -> np.ndarray:
    """Return the highest similarity that each text has in the gallery, (N,)."""
    clips = torch.from_numpy(gallery_clips(model))
    embeddings = torch.cat([model.embed_video(part) for part in clips.split(BATCH)])  # (1000, E)
    stored = embeddings.half().float()
    texts = [one.text for one in asked]
    found = [
        (model.embed_text(model.tokenize(texts[first : first + BATCH])) @ stored.T).amax(1)
        for first in range(0, len(texts), BATCH)
    ]
    return torch.cat(found).numpy()


def print_rows(
    quiet: Sequence[Asked],
    busy: Sequence[Asked],
    wrong: Counter[str],
    facts: Mapping[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print the table, and what went wrong."""
    print("| | searches | p50 ms | p95 ms | p99 ms |")
    print("|---|---|---|---|---|")
    p99 = {}
    for name, part in (("quiet", quiet), ("while switching", busy)):
        took = [one.took_ms for one in part]
        p50, p95, p99[name] = np.percentile(took, (50, 95, 99))
        print(f"| {name} | {len(part)} | {p50:.1f} | {p95:.1f} | {p99[name]:.1f} |")
    ratio = p99["while switching"] / p99["quiet"]
    names = [
        facts["versions"].get(one.answer.get("receipt", {}).get("model_version_id")) for one in busy
    ]
    print(f"p99 while switching / quiet: {ratio:.2f}")
    print(f"answered by the model before: {names.count('before')}, after: {names.count('after')}")
    rate = options.segments / facts["took_s"]
    print(
        f"{options.segments} segments and the switch took {facts['took_s']:.1f} s "
        f"({rate:.0f} segments/s) and ended as {facts['activation']['state']}"
    )
    if facts["activation"]["state"] != "done":
        print(facts["activation"]["reason"], facts["activation"]["detail"])
    print("wrong answers:", dict(wrong) or "none")


if __name__ == "__main__":
    main()
