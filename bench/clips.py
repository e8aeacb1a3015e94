"""Does tuning work on camera footage? Tune on some captions of each clip, ask for it by others.

    python bench/clips.py --clips FOLDER [--train-captions 1 2] [--steps N] [--json]

FOLDER holds videos and `captions.jsonl`, one object a line: {"file": ..., "captions": [...]}. The
first captions of each clip are trained on, the others are the queries; `--train-captions 1 2` does
so with one and then with two. All else is as `reelseek train` chooses unless it is given. All clips
are seen in training, so this shows that tuning works on camera footage, not that the model
generalises to other footage.

"words alone" compares the words of the queries with those of the captions trained on, weighted by
how rare they are, without any network: what knowing every clip by heart, and nothing of the
language but its words, would reach.
"""

import argparse
import json
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import load_bundle, load_trainable
from model.clip_store import ClipStore
from model.measure import Gallery, measure
from model.metrics import rank_texts, rank_videos
from model.pairs import VideoPair, read_pairs
from model.report import DIRECTIONS, Figures, Report
from model.retrieval import clips_to_tensor
from model.train import Step
from model.tuning.choices import Choices
from model.tuning.tune import CLIPS, Listener, tune

RERANK_DEPTH = 16
LISTING = "captions.jsonl"
VARIABLE = "REELSEEK_BENCH_CLIPS"
SHOWN = ("R@1", "R@5", "R@10")


def main() -> None:
    """Measure, tune, measure again: for each number of captions."""
    given = _parse()
    if given.clips is None:
        print(f"nothing measured: give --clips FOLDER, or set {VARIABLE}")
        return
    torch.set_num_threads(given.threads)
    pairs = read_pairs(given.clips / LISTING, given.clips)
    found = []
    with TemporaryDirectory() as folder:
        for known in given.train_captions:
            rows, facts = try_with(pairs, known, Path(folder), given)
            found.append({**facts, "rows": rows})
            if not given.json:
                print_rows(rows, facts)
    if given.json:
        print(json.dumps(found, indent=2))


def try_with(
    pairs: list[VideoPair], known: int, work: Path, given: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Tune on the first captions of each clip, and return rows and facts.

    Args:
        pairs: clips with all their captions.
        known: how many captions of each are trained on.
        work: folder for what is made.
        given: options of the command.
    """
    out = work / f"tuned-{known}"
    # where tuning looks for clips first: each is decoded once
    store = ClipStore(work / f"{out.name}.run" / CLIPS, load_trainable(given.bundle).preprocessing)
    gallery = make_gallery(pairs, store, known)
    before = load_bundle(given.bundle, device=given.device)
    rows = rows_of("before", measure(before, gallery, depths=(RERANK_DEPTH,)))
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    tuned = tune(
        given.bundle,
        [replace(pair, captions=pair.captions[:known]) for pair in pairs],
        out,
        choices=choices_of(given),
        device=given.device,
        listener=Listener(took=show),
    )
    spent = {"s": time.monotonic() - started_s, "cpu_s": time.process_time() - started_cpu_s}
    after = load_bundle(out, device=given.device)
    rows += rows_of("after", measure(after, gallery, depths=(RERANK_DEPTH,)))
    rows += rows_of_words(pairs, gallery, known)
    facts = {
        "train_captions": known,
        "clips": len(pairs),
        "queries": len(gallery.texts),
        "steps": tuned.steps,
        "new_words": tuned.new_words,
        "waited_for_data": round(tuned.wait_share, 3),
        **{name: round(value) for name, value in spent.items()},
    }
    return rows, facts


def choices_of(given: argparse.Namespace) -> Choices:
    """Return what was given; all else is left to tuning."""
    named = ("steps", "batch", "learning_rate", "word_dropout", "seed")
    values = {name: getattr(given, name) for name in named}
    return Choices(**{name: value for name, value in values.items() if value is not None})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    clips = os.environ.get(VARIABLE)
    parser.add_argument(
        "--clips",
        type=Path,
        default=Path(clips) if clips else None,
        help=f"folder of videos and {LISTING}; {VARIABLE} if not given",
    )
    parser.add_argument("--bundle", type=Path, default=Path("model/bundled"))
    parser.add_argument("--train-captions", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--word-dropout", type=float, help="largest share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    return parser.parse_args()


def make_gallery(pairs: list[VideoPair], store: ClipStore, known: int) -> Gallery:
    """Decode all clips; the queries are all captions but the first `known` of each.

    Raises:
        ValueError: a clip cannot be decoded, or has no other caption.
    """
    _, left_out = store.check(pairs)
    if left_out:
        raise ValueError(f"{left_out[0].pair.path}: {left_out[0].reason}")
    for pair in pairs:
        if len(pair.captions) <= known:
            raise ValueError(f"{pair.path} has no caption beyond {known} to ask by")
    owners = [index for index, pair in enumerate(pairs) for _ in pair.captions[known:]]
    return Gallery(
        texts=[caption for pair in pairs for caption in pair.captions[known:]],
        clips=clips_to_tensor(list(store.load(pairs))),
        owners=np.array(owners),
    )


def show(step: Step, steps: int) -> None:
    """Print how training goes, every twenty steps."""
    if step.number % 20 == 0:
        losses = " ".join(f"{name} {value:.2f}" for name, value in step.losses.items())
        print(f"step {step.number}/{steps}  {step.duration_s:.1f} s  {losses}", flush=True)


def rows_of(when: str, report: Report) -> list[dict[str, Any]]:
    """Return one row for each way to search in each direction."""
    return [
        row(when, direction, stream.label, stream.figures(direction))
        for stream in report.streams
        for direction in DIRECTIONS
    ]


def row(when: str, direction: str, way: str, figures: Figures) -> dict[str, Any]:
    """Return figures by the names that papers use, and what they are of."""
    return {"when": when, "direction": direction, "way": way, **figures.to_json()}


def rows_of_words(pairs: list[VideoPair], gallery: Gallery, known: int) -> list[dict[str, Any]]:
    """Return how far the words alone reach, with the ranks of any other search."""
    scores = compare_words(gallery.texts, [" ".join(pair.captions[:known]) for pair in pairs])
    found = {
        "t2v": rank_videos(scores, gallery.owners),
        "v2t": rank_texts(scores, gallery.owners),
    }
    return [row("no network", by, "words alone", Figures.of(found[by])) for by in DIRECTIONS]


def compare_words(queries: Sequence[str], known: Sequence[str]) -> NDArray[np.float64]:
    """Return the cosines of bags of words, each word weighted by how few texts know it, (N, M)."""
    bags = [Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in known]
    asked = [Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in queries]
    common = Counter(word for bag in bags for word in bag)
    column = {word: index for index, word in enumerate(common)}
    rarity = np.log(len(known) / np.array(list(common.values())))

    def weigh(texts: list[Counter[str]]) -> NDArray[np.float64]:
        table = np.zeros((len(texts), len(column)))
        for index, bag in enumerate(texts):
            for word in bag.keys() & column.keys():
                table[index, column[word]] = bag[word] * rarity[column[word]]
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)

    return weigh(asked) @ weigh(bags).T


def print_rows(rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Print one line per row, percent with 95 % intervals."""
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{'':12}{'':6}{'':17}" + "".join(f"{name:>21}" for name in SHOWN) + f"{'MdR':>7}")
    for each in rows:
        cells = ""
        for name in SHOWN:
            low, high = each["intervals"][name]
            cells += f"{each[name]:7.1f} [{low:.1f}, {high:.1f}]".rjust(21)
        print(f"{each['when']:12}{each['direction']:6}{each['way']:17}{cells}{each['MdR']:7.1f}")


if __name__ == "__main__":
    main()
