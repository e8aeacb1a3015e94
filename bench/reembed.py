"""How close embedding for a switch comes to what the network alone can do.

    python bench/reembed.py [--segments 2000] [--rounds 3] [--threads 1]

Each round lets another model take over a gallery of stored clips, by the real job: it reads the
clips, embeds them and commits. *Limit* is the same network on batches of clips in memory, timed
just before and just after. Stored clips need no decoding unless the new model wants another shape.
"""

import argparse
import logging
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from _candidates import make_candidate
from _search_gallery import fill, gallery_clips

from model.bundle import load_bundle
from model.retrieval import RetrievalModel
from service import log as logs
from service.activations import request_activation
from service.catalog.activation_queries import get_activation
from service.catalog.activation_tables import Trigger
from service.encoder import read_facts
from service.models import register
from service.registry import Registry
from service.settings import Settings
from workers.activation import Patience, run
from workers.resources import Resources
from workers.runner import run_job

LIMIT_S = 5.0
AT_ONCE = Patience(first_s=0.0, settle_s=0.0)


def main() -> None:
    """Measure and print every round, then the median."""
    options = _options()
    logs.configure(as_json=False, level=logging.WARNING)  # as `reelseek serve` does
    torch.set_num_threads(options.threads)
    shares = []
    with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
        settings = Settings(
            data_dir=Path(folder) / "data", torch_threads=options.threads, database_url=None
        )
        settings.data_dir.mkdir()
        fill(settings, options.segments, is_real=True)
        print("| round | segments | limit before /s | re-embedding /s | limit after /s | share |")
        print("|---|---|---|---|---|---|")
        for number in range(1, options.rounds + 1):
            bundle = make_candidate(
                settings.bundle_path, Path(folder) / f"candidate-{number}", seed=number
            )
            network = load_bundle(bundle)
            before = limit(network, settings.embed_batch)
            rate = switch(settings, bundle)
            after = limit(network, settings.embed_batch)
            shares.append(rate / ((before + after) / 2))
            print(
                f"| {number} | {options.segments} | {before:.1f} | {rate:.1f} | {after:.1f} "
                f"| {shares[-1]:.3f} |",
                flush=True,
            )
    print(f"median share: {statistics.median(shares):.3f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def limit(network: RetrievalModel, batch: int) -> float:
    """Return how many clips a second the network embeds when they are in memory."""
    clips = torch.from_numpy(gallery_clips(network)[:batch])
    network.embed_video(clips)
    count, began = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began) < LIMIT_S:
        network.embed_video(clips)
        count += batch
    return count / took_s


def switch(settings: Settings, bundle: Path) -> float:
    """Let a bundle take over; return how many segments a second were embedded and committed."""
    with Resources(settings) as resources:
        registry = Registry(settings.data_dir)
        facts = read_facts(bundle)
        with registry.adding(bundle.name, replace=False) as draft:
            shutil.copytree(bundle, draft.folder)
            draft.describe(facts, source="bench")
        version = register(resources.sessions, registry.get(bundle.name), facts)
        requested = request_activation(
            resources.sessions,
            resources.sender,
            registry,
            model_version_id=version.id,
            trigger=Trigger.COMMAND,
        )
        run_job(requested.job_id, partial(run, patience=AT_ONCE), resources)
        with resources.reads() as session:
            record = get_activation(session, requested.activation_id)
            report = record.activation.report or {}
            if record.job.state != "done":
                raise SystemExit(f"{record.job.reason}: {record.job.detail}")
    return float(report["embedding"]["per_s"])


if __name__ == "__main__":
    main()
