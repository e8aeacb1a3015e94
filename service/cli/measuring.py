"""What `evaluate` does: load a bundle, search with it, and say what was found and left out."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.bundle import BundleError, bundle_digest, load_bundle
from model.datasets.clips import DecodedDataset, UnreadableVideosError, decoded
from model.datasets.items import DatasetError, Split
from model.datasets.reading import Dataset, DatasetName, MissingVideosError, open_dataset
from model.device import choose_device
from model.evaluate import measure_world
from model.measure import Progress as Told
from model.measure import measure, pairs_per_s, reads_frames
from model.recall_plot import draw_recall
from model.report import Report
from model.retrieval import RetrievalModel
from service.cli.console import CliError, err
from service.cli.evaluation_notes import count_full_texts, notes_on_dataset, notes_on_model
from service.cli.model_registry import bundle_in_use
from service.errors import NotFoundError
from service.footage import decode_limits
from service.registry import Registry
from service.settings import Settings

SLOW_S = 60
"""Matching that takes longer is announced in minutes."""


@dataclass(frozen=True)
class Options:
    """How to measure, whatever is searched.

    Attributes:
        bundle: a folder, or a name that `models list` shows; None is ours.
        depths: how many are re-ranked.
        full_fused: match every pair.
        settings: of this installation.
    """

    bundle: str | None
    depths: list[int]
    full_fused: bool
    settings: Settings


@dataclass(frozen=True)
class DatasetRequest:
    """Which videos and texts of whose."""

    name: DatasetName
    annotations: Path
    videos: Path
    split: Split
    frames: int | None
    limit: int | None
    skip_missing: bool


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes:
        report: the figures.
        title: what was searched by what.
        extra: what JSON says beside the figures.
        notes: sentences without which the figures would be misread.
    """

    report: Report
    title: str
    extra: dict[str, Any]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the figures, what belongs beside them, and the notes."""
        return {**self.report.to_json(), **self.extra, "notes": self.notes}


def measure_made_videos(num_videos: int, seed: int, options: Options) -> Outcome:
    """Measure on procedural videos.

    Raises:
        CliError: the bundle cannot be used.
    """
    name, digest, network = _load(options)
    _announce(network, num_videos, num_videos, options)
    with _progress() as told, _figures_as_sentences():
        found = measure_world(
            network,
            num_videos=num_videos,
            seed=seed,
            depths=options.depths,
            full_fused=options.full_fused,
            progress=told,
        )
    title = f"{name}: {num_videos} made-up videos in families of four, seed {seed}"
    extra = {
        "model": {"name": name, "digest": digest},
        "world": {"num_videos": num_videos, "seed": seed},
        "temporal_order": found.temporal_order,
    }
    return Outcome(found.report, title, extra, notes_on_model(network.spec))


def measure_a_dataset(request: DatasetRequest, options: Options) -> Outcome:
    """Measure on a dataset.

    Raises:
        CliError: the bundle or the dataset cannot be used, or videos are missing.
    """
    with _dataset_errors(request):
        dataset = open_dataset(
            request.name,
            annotations=request.annotations,
            videos=request.videos,
            split=request.split,
            limit=request.limit,
            skip_missing=request.skip_missing,
        )
        name, digest, network = _load(options)
        frames = _choose_frames(network, request.frames)
        num_texts = sum(len(item.texts) for item in dataset.items)
        _announce(network, num_texts, len(dataset.items), options, frames=frames)
        report, facts = _decode_and_measure(dataset, network, frames, request, options)
    title = f"{name}: {request.name}, {request.split} split, {frames} frames a video"
    notes = notes_on_model(network.spec) + notes_on_dataset(network.spec, facts)
    extra = {"model": {"name": name, "digest": digest}, "dataset": facts}
    return Outcome(report, title, extra, notes)


def _decode_and_measure(
    dataset: Dataset,
    network: RetrievalModel,
    frames: int,
    request: DatasetRequest,
    options: Options,
) -> tuple[Report, dict[str, Any]]:
    """Return the figures, and what JSON says of the dataset."""
    with (
        _progress() as told,
        _figures_as_sentences(),
        decoded(
            dataset,
            network.spec,
            frames_per_clip=frames,
            limits=decode_limits(options.settings),
            reader=options.settings.reader,
            skip_unreadable=request.skip_missing,
            progress=told,
        ) as ready,
    ):
        report = measure(
            network,
            ready.gallery,
            depths=options.depths,
            full_fused=options.full_fused,
            progress=told,
        )
        num_full = count_full_texts(network, ready.gallery.texts)
    return report, _facts(dataset, ready, request, frames, num_full)


def draw(outcome: Outcome, path: Path) -> None:
    """Draw recall.

    Raises:
        CliError: the file cannot be written.
    """
    try:
        draw_recall(outcome.report, path, title=outcome.title)
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}.") from error


def _load(options: Options) -> tuple[str, str, RetrievalModel]:
    """Return the bundle that is given, named, or searched: name, digest and network."""
    given, settings = options.bundle, options.settings
    folder = bundle_in_use(settings) if given is None else Path(given)
    try:
        if given is not None and not folder.is_dir():
            folder = Registry(settings.data_dir).get(given).path
        network = load_bundle(folder, device=choose_device(settings.device))
    except NotFoundError as error:
        raise CliError(f"{given} is no folder and no name of a model: {error.detail}") from error
    except BundleError as error:
        raise CliError(f"{folder} cannot be used as a bundle: {error}") from error
    return given or folder.name, bundle_digest(folder), network


def _choose_frames(network: RetrievalModel, wanted: int | None) -> int:
    usual = network.spec.frames_per_clip
    if wanted is None or wanted == usual or reads_frames(network, wanted):
        return wanted or usual
    raise CliError(
        f"This bundle reads {usual} frames of a video and cannot read {wanted}; leave out --frames."
    )


def _announce(
    network: RetrievalModel,
    num_texts: int,
    num_videos: int,
    options: Options,
    *,
    frames: int | None = None,
) -> None:
    """Say what matching every pair will cost, before anything else is done."""
    spec = network.spec
    if not spec.has_matcher or (spec.has_retriever and not options.full_fused):
        return
    rate = pairs_per_s(network, frames or spec.frames_per_clip)
    num_pairs = num_texts * num_videos
    lasts_s = num_pairs / rate
    lasts = f"{math.ceil(lasts_s)} s" if lasts_s < SLOW_S else f"{math.ceil(lasts_s / 60)} min"
    err.print(
        f"Every one of {num_texts:,} texts is matched with every one of {num_videos:,} videos: "
        f"{num_pairs:,} fused passes, about {lasts} at {rate:,.0f} a second here.",
        soft_wrap=True,
    )


@contextmanager
def _progress() -> Iterator[Told]:
    """Show how far the work is, where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Progress(
        *columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal
    )
    tasks: dict[str, Any] = {}

    def told(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done)

    with bars:
        yield told


@contextmanager
def _figures_as_sentences() -> Iterator[None]:
    """Turn what no figure can be made of into one sentence."""
    try:
        yield
    except DatasetError:
        raise
    except ValueError as error:
        raise CliError(f"The bundle cannot be measured: {error}.") from error


@contextmanager
def _dataset_errors(request: DatasetRequest) -> Iterator[None]:
    try:
        yield
    except MissingVideosError as error:
        mend = "add them, or leave them out by --skip-missing"
        raise CliError(
            f"{error}; {'' if request.skip_missing else mend}".rstrip("; ") + "."
        ) from error
    except UnreadableVideosError as error:
        mend = "" if request.skip_missing else " Leave such videos out by --skip-missing."
        raise CliError(f"{error}{mend}") from error
    except DatasetError as error:
        raise CliError(f"{error}.") from error


def _facts(
    dataset: Dataset, ready: DecodedDataset, request: DatasetRequest, frames: int, num_full: int
) -> dict[str, Any]:
    """Return what JSON says of a dataset."""
    return {
        "name": dataset.name,
        "split": dataset.split,
        "frames": frames,
        "limit": request.limit,
        "missing": list(dataset.missing),
        "unreadable": list(ready.unreadable),
        "damaged": list(ready.damaged),
        "texts_that_fill_the_model": num_full,
    }
