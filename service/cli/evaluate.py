"""`evaluate`: how well a bundle finds what it should."""

from pathlib import Path
from typing import Annotated

import typer

from model.datasets.items import Split
from model.datasets.reading import DatasetName
from service.cli.console import CliError, Exit, JsonOption, print_json
from service.cli.roots import load_settings

DEFAULT_WORLD = 500
DEFAULT_DEPTHS = [16]
PLOT_SUFFIXES = (".svg", ".png")


World = Annotated[
    int | None, typer.Option(min=4, max=100_000, help="How many made-up videos; 500 if unset.")
]
Seed = Annotated[int, typer.Option(min=0, help="Which made-up videos.")]
Dataset = Annotated[DatasetName | None, typer.Option(help="Use this dataset instead.")]
Annotations = Annotated[
    Path | None, typer.Option(help="Its annotation file, or the folder with it.")
]
Videos = Annotated[Path | None, typer.Option(help="Folder with its videos.")]
Part = Annotated[Split, typer.Option(help="Which part of the dataset.")]
Frames = Annotated[
    int | None, typer.Option(min=1, max=256, help="Frames of a video; the bundle's if unset.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many videos.")]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out videos that are not there.")
]
Depths = Annotated[
    list[int], typer.Option(min=1, max=10_000, help="Re-rank so many; may be repeated.")
]
FullFused = Annotated[
    bool, typer.Option("--full-fused", help="Match every text with every video as well.")
]
Bundle = Annotated[
    str | None,
    typer.Option(metavar="NAME_OR_FOLDER", help="What to measure; what is searched if unset."),
]
Plot = Annotated[Path | None, typer.Option(help="Draw recall into this .svg or .png.")]


def evaluate(
    *,
    world: World = None,
    seed: Seed = 1,
    dataset: Dataset = None,
    annotations: Annotations = None,
    videos: Videos = None,
    split: Part = "test",
    frames: Frames = None,
    limit: Limit = None,
    skip_missing: SkipMissing = False,
    depth: Depths = DEFAULT_DEPTHS,
    full_fused: FullFused = False,
    bundle: Bundle = None,
    plot: Plot = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle: on made-up videos that it has never seen, or on a dataset that you have.

    Prints recall, ranks and nDCG with intervals, from text to video and from video to text;
    docs/evaluation.md explains them.
    """
    _check_plot(plot)
    from service.cli import measuring  # noqa: PLC0415 (torch is slow to import)
    from service.cli.evaluation_table import print_outcome  # noqa: PLC0415

    options = measuring.Options(
        bundle, list(dict.fromkeys(depth)), full_fused=full_fused, settings=load_settings()
    )
    if dataset is None:
        if annotations or videos or limit or skip_missing or frames:
            raise CliError(
                "Those options are for datasets: name one by --dataset.", code=Exit.USAGE
            )
        found = measuring.measure_made_videos(world or DEFAULT_WORLD, seed, options)
    elif world is not None or annotations is None or videos is None:
        sentence = "--dataset needs --annotations and --videos, and goes without --world."
        raise CliError(sentence, code=Exit.USAGE)
    else:
        request = measuring.DatasetRequest(
            dataset, annotations, videos, split, frames, limit, skip_missing=skip_missing
        )
        found = measuring.measure_a_dataset(request, options)
    if plot is not None:
        measuring.draw(found, plot)
    if as_json:
        print_json(found.to_json())
    else:
        print_outcome(found)


def _check_plot(path: Path | None) -> None:
    """Refuse a plot that could not be drawn, before the work that takes long."""
    if path is None:
        return
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise CliError(f"{path} ends neither with .svg nor with .png.", code=Exit.USAGE)
    if not path.absolute().parent.is_dir():
        raise CliError(f"The folder {path.absolute().parent} does not exist.", code=Exit.USAGE)
