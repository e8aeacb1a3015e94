"""`evaluate`: how well a bundle finds what it should."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.console import CliError, JsonOption, err, out, print_json
from service.cli.roots import load_settings

DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}
STREAMS = {"dual_stream": "dual stream", "reranked": "re-ranked"}


def evaluate(
    *,
    world: Annotated[int, typer.Option(min=4, max=100_000, help="How many fresh videos.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Which ones.")] = 1,
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; ours if unset.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on made-up videos that it has never seen, in families of four."""
    from model.bundle import BundleError, load_bundle  # noqa: PLC0415 (torch is slow to import)
    from model.evaluate import evaluate_world  # noqa: PLC0415

    folder = bundle or load_settings().bundle_path
    try:
        network = load_bundle(folder)
    except BundleError as error:
        raise CliError(f"{folder} cannot be used as a bundle: {error}") from error
    if not as_json:
        err.print(f"Making and searching {world} videos ...")
    figures = evaluate_world(network, num_videos=world, seed=seed)
    if as_json:
        print_json(figures)
    else:
        _print(figures)


def _print(figures: Any) -> None:
    table = Table("", "", "R@1", "R@5", "R@10", "MdR", box=None, header_style="bold")
    for direction, from_to in DIRECTIONS.items():
        for stream, name in STREAMS.items():
            row = figures[direction][stream]
            values = (f"{row[key]:g}" for key in ("R@1", "R@5", "R@10", "MdR"))
            table.add_row(from_to, name, *values)
    out.print(table)
    order = figures["temporal_order"]
    out.print(
        f"The right one of a video and its reversal: fused pass {order['fused']:g} %, "
        f"dual stream {order['dual_stream']:g} % of {order['num_texts']} texts.",
        soft_wrap=True,
    )
