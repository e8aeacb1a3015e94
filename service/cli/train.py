"""`train`: teach a bundle one's own videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.tuning.choices import Choices, RecipeName, TuningError
from service.cli.console import CliError, Exit, JsonOption, err, escape, out, print_json
from service.cli.model_registry import bundle_in_use
from service.cli.roots import load_settings
from service.cli.tuning_options import (
    BatchOption,
    BundleOption,
    FrozenOption,
    LearningRateOption,
    MicroBatchOption,
    RecomputeOption,
    SeedOption,
    StepsOption,
    TextLearningRateOption,
    WordDropoutOption,
)
from service.errors import NotFoundError
from service.registry import Registry
from service.settings import Settings

if TYPE_CHECKING:  # torch is slow to import
    from model.clip_store import LeftOut
    from model.train import Step
    from model.tuning.tune import Listener, Tuned

SHOW_EVERY = 10
"""Steps between two lines of progress."""


def train(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS.jsonl",
            help='One object a line: {"file", "caption" or "captions", "start_s"?, "end_s"?}.',
        ),
    ],
    *,
    videos: Annotated[Path, typer.Option(help="Folder with the videos.")],
    to: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.")],
    source: BundleOption = None,
    recipe: Annotated[RecipeName, typer.Option(help="What is learned.")] = "native",
    steps: StepsOption = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="How often every pair is seen, in place of --steps.")
    ] = None,
    batch: BatchOption = None,
    micro_batch: MicroBatchOption = None,
    recompute: RecomputeOption = False,
    learning_rate: LearningRateOption = None,
    text_learning_rate: TextLearningRateOption = None,
    freeze: FrozenOption = None,
    word_dropout: WordDropoutOption = None,
    seed: SeedOption = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a bundle on videos with captions, and save the result as a new bundle.

    Ctrl-C stops after the step in progress; --resume goes on as if nothing had happened. Under
    `torchrun` (`python -m torch.distributed.run`) processes share each batch.
    """
    try:
        choices = Choices(
            recipe=recipe,
            steps=steps,
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            text_learning_rate=text_learning_rate,
            frozen=tuple(freeze or ()),
            micro_batch=micro_batch,
            recomputes_blocks=recompute,
            word_dropout=word_dropout or 0.0,
            seed=seed,
        )
    except TuningError as error:
        raise CliError(str(error)) from error
    tuned = _tune((pairs, videos), to, source, choices, resume=resume)
    from model.distributed import started_processes  # noqa: PLC0415 (torch is slow to import)

    if started_processes().is_first:
        _tell(tuned, as_json=as_json)
    if tuned.digest is None:
        raise typer.Exit(Exit.INTERRUPTED)


def _tune(
    listing: tuple[Path, Path], to: Path, source: str | None, choices: Choices, *, resume: bool
) -> "Tuned":
    """Tune on the pairs of a file and its folder of videos; failures become sentences."""
    from model.bundle_files import BundleError  # noqa: PLC0415 (torch is slow to import)
    from model.device import choose_device  # noqa: PLC0415
    from model.pairs import PairsError, read_pairs  # noqa: PLC0415
    from model.train import TrainingError  # noqa: PLC0415
    from model.tuning.tune import tune  # noqa: PLC0415

    settings = load_settings()
    try:
        return tune(
            _find_bundle(settings, source),
            read_pairs(*listing),
            to,
            choices=choices,
            device=choose_device(settings.device),
            resume=resume,
            listener=_listener(),
        )
    except (BundleError, PairsError, TuningError, TrainingError, NotFoundError) as error:
        raise CliError(str(error)) from error


def _find_bundle(settings: Settings, source: str | None) -> Path:
    """Return the folder of a bundle that is given, or named as `models list` shows it."""
    if source is None:
        return bundle_in_use(settings)
    folder = Path(source)
    return folder if folder.is_dir() else Registry(settings.data_dir).get(source).path


def _listener() -> "Listener":
    """Return what prints progress; tuning calls it in the first process only."""
    from model.tuning.tune import Listener  # noqa: PLC0415 (torch is slow to import)

    return Listener(
        left_out=_print_left_out,
        took=_print_step,
        noticed=lambda _, text: err.print(escape(text), soft_wrap=True),
    )


def _print_left_out(one: "LeftOut") -> None:
    pair = one.pair
    err.print(f"line {pair.line}, {escape(str(pair.path))} is left out: {escape(one.reason)}")


def _print_step(step: "Step", of: int) -> None:
    if step.number % SHOW_EVERY and step.number not in (1, of):
        return
    losses = "  ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
    waited = f"waited {step.wait_s:.2f} of {step.duration_s:.2f} s"
    err.print(
        f"step {step.number}/{of}  {losses}  gradient {step.gradient_norm:.2f}  {waited}",
        soft_wrap=True,
    )


def _tell(tuned: "Tuned", *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "folder": tuned.folder,
                "digest": tuned.digest,
                "steps": tuned.steps,
                "pairs": tuned.num_pairs,
                "left_out": [
                    {"line": one.pair.line, "file": one.pair.path, "reason": one.reason}
                    for one in tuned.left_out
                ],
                "new_words": tuned.new_words,
                "wait_share": round(tuned.wait_share, 4),
            }
        )
    elif tuned.digest is None:
        err.print(f"Stopped after step {tuned.steps}; the same command with --resume goes on.")
    else:
        folder = escape(str(tuned.folder))
        out.print(
            f"Trained on {tuned.num_pairs} pairs in {tuned.steps} steps, {tuned.wait_share:.1%} of "
            f"the time waiting for data. The bundle is in {folder}; "
            f"`reelseek models add {folder}` registers it.",
            soft_wrap=True,
        )
