"""The folder of a tuning run: what worker and process share.

The worker writes `plan.json` and `pairs.jsonl`, starts `python -m workers.tuning.process FOLDER`,
appends to `forgotten.jsonl` and may write `gallery.jsonl`; the process writes everything else.

    plan.json        TuningPlan
    pairs.jsonl      PairLine, one a line, in the order of their ordinals
    forgotten.jsonl  {"ordinal": n}, one a line: pairs that may not be used any more
    gallery.jsonl    stored clips of the live gallery to compare the models on
    run/             checkpoints: step-00000120/{run.safetensors, manifest.json}
    clips/           decoded clips
    trained/         the bundle as training left it; gone when bundle/ is there
    report.json      how the candidate compares
    bundle/          the candidate, calibrated; there only when it is whole
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from model.tuning.choices import Choices

PLAN, PAIRS, FORGOTTEN, GALLERY = "plan.json", "pairs.jsonl", "forgotten.jsonl", "gallery.jsonl"
RUN, CLIPS, TRAINED, REPORT, BUNDLE = "run", "clips", "trained", "report.json", "bundle"
FOOTAGE = "footage"
"""Copies of what the run reads, where the files are kept in a bucket."""
_PATHS = ("path", "base")


class FolderError(ValueError):
    """A file of the folder cannot be used; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class TuningPlan:
    """What to do.

    Attributes:
        base: folder of the bundle to start from.
        base_digest: that it must have.
        name: of the candidate, for its card.
        choices: how to train.
        hold_out: whether pairs were held out by video or by caption.
        device: `auto`, `cpu` or `cuda`.
        checkpoint_every_s: how often all that resuming needs is written, seconds.
    """

    base: Path
    base_digest: str
    name: str
    choices: Choices = field(default_factory=Choices)
    hold_out: str = "videos"
    device: str = "auto"
    checkpoint_every_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class PairLine:
    """One pair, with where it came from.

    Attributes:
        ordinal: of the pair in its run.
        origin: `caption` or `feedback`.
        origin_id: of that.
        video_id: whose video it is about.
        path: the video's file.
        text: what is said about it, or by a negative pair, what is not.
        start_s: where the clip begins, seconds; None: with the video.
        end_s: where it ends; None: with the video.
        is_held_out: it is not trained on, but asked for afterwards.
        is_negative: a person said that the text does not describe the clip.
        group: near-duplicates have the same; None: no other is like it.
    """

    ordinal: int
    origin: str
    origin_id: str
    video_id: str
    path: Path
    text: str
    start_s: float | None = None
    end_s: float | None = None
    is_held_out: bool = False
    is_negative: bool = False
    group: int | None = None


def write_plan(folder: Path, plan: TuningPlan) -> None:
    """Write `plan.json`."""
    (folder / PLAN).write_text(json.dumps(asdict(plan), default=str, indent=2), encoding="utf-8")


def read_plan(folder: Path) -> TuningPlan:
    """Read `plan.json`.

    Raises:
        FolderError: it is missing, or holds something else.
    """
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        choices = _with_tuples(found.pop("choices", {}))
        return TuningPlan(choices=Choices(**choices), **_with_paths(found))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FolderError(f"{folder / PLAN} cannot be used: {error}") from error


def write_pairs(folder: Path, pairs: Iterable[PairLine]) -> None:
    """Write `pairs.jsonl`."""
    with (folder / PAIRS).open("w", encoding="utf-8") as stream:
        for pair in pairs:
            stream.write(json.dumps(asdict(pair), default=str, ensure_ascii=False) + "\n")


def read_pair_lines(folder: Path) -> list[PairLine]:
    """Read `pairs.jsonl`.

    Raises:
        FolderError: it is missing, or a line holds something else.
    """
    try:
        with (folder / PAIRS).open(encoding="utf-8") as stream:
            return [PairLine(**_with_paths(json.loads(line))) for line in stream]
    except (OSError, ValueError, TypeError) as error:
        raise FolderError(f"{folder / PAIRS} cannot be used: {error}") from error


def forget(folder: Path, ordinals: Iterable[int]) -> None:
    """Say that pairs may not be used any more; the process notices before its next step."""
    with (folder / FORGOTTEN).open("a", encoding="utf-8") as stream:
        stream.writelines(f'{{"ordinal": {ordinal}}}\n' for ordinal in ordinals)


def read_forgotten(folder: Path) -> frozenset[int]:
    """Return the ordinals of pairs that may not be used any more."""
    return frozenset(_ordinals(folder / FORGOTTEN))


def _ordinals(path: Path) -> Iterator[int]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):  # the last one may be in the middle of being written
            yield int(json.loads(line)["ordinal"])


def _with_paths(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Path(value) if name in _PATHS else value for name, value in found.items()}


def _with_tuples(choices: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.name for each in fields(Choices)}
    unknown = sorted(set(choices) - known)
    if unknown:
        raise ValueError(f"nothing is known of the choices {', '.join(unknown)}")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in choices.items()
    }
