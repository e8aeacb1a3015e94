"""`tune` and `tunings`: start a tuning run, watch it, list what there was, cancel one."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import typer

from service.catalog.tuning_tables import Policy
from service.cli.client import Api, KeyOption, UrlOption, open_api
from service.cli.console import CliError, Exit, JsonOption, command_name, err, out, print_json
from service.cli.tuning_options import (
    BatchOption,
    FrozenOption,
    HoldOutOption,
    LearningRateOption,
    MicroBatchOption,
    ModelOption,
    RecipeOption,
    SeedOption,
    ShareOption,
    SourcesOption,
    StepsOption,
    TextLearningRateOption,
    WordDropoutOption,
)
from service.cli.tuning_view import print_dry_run, print_report, print_tunings, watch
from service.pairs import HoldOut, PairSource

tunings = typer.Typer(help="List, show, watch and cancel tuning runs.", no_args_is_help=True)

TuningId = Annotated[UUID, typer.Argument(metavar="ID", help="As `tunings list` shows it.")]


def tune(
    *,
    source: ModelOption = None,
    name: Annotated[str | None, typer.Option(help="Of the model that comes out.")] = None,
    recipe: RecipeOption = None,
    steps: StepsOption = None,
    epochs: Annotated[float | None, typer.Option(min=1, help="In place of --steps.")] = None,
    batch: BatchOption = None,
    micro_batch: MicroBatchOption = None,
    learning_rate: LearningRateOption = None,
    text_learning_rate: TextLearningRateOption = None,
    frozen: FrozenOption = None,
    word_dropout: WordDropoutOption = None,
    seed: SeedOption = 0,
    held_out: ShareOption = 0.2,
    hold_out: HoldOutOption = HoldOut.VIDEOS,
    video: Annotated[list[UUID] | None, typer.Option(help="Only these videos. Repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only videos with it. Repeatable.")] = None,
    only: SourcesOption = None,
    policy: Annotated[Policy, typer.Option(help="Activate it by itself?")] = Policy.MANUAL,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Watch it to its end.")] = True,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Tune a model on the captions and the feedback of your videos; no option is needed.

    Ctrl-C ends the watching, not the run: `tunings cancel` does that. The exit code is 1 if the run
    failed or was cancelled.
    """
    body = {
        "name": name,
        "recipe": recipe,
        "steps": steps,
        "epochs": epochs,
        "batch": batch,
        "micro_batch": micro_batch,
        "learning_rate": learning_rate,
        "text_learning_rate": text_learning_rate,
        "frozen": frozen or [],
        "word_dropout": word_dropout,
        "seed": seed,
        "held_out_share": held_out,
        "hold_out": hold_out,
        "filter": _filter(video, tag, only),
        "policy": policy,
    }
    with open_api(url, key) as api:
        body["model_id"] = None if source is None else _find_model(api, source)
        if dry_run:
            _dry_run(api, body, as_json=as_json)
            return
        requested = api.post("/v1/tunings", body)
        if not wait:
            _say_requested(requested, as_json=as_json)
            return
        _watch(api, requested["id"], as_json=as_json)


@tunings.command("list")
def list_tunings(
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List the tuning runs, the newest first."""
    with open_api(url, key) as api:
        found = api.get("/v1/tunings", limit=limit)["tunings"]
    if as_json:
        print_json(found)
    else:
        print_tunings(found)


@tunings.command("show")
def show_tuning(
    tuning_id: TuningId,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show a run: how far it is, what it had to tell, how its model compares."""
    with open_api(url, key) as api:
        tuning = api.get(f"/v1/tunings/{tuning_id}")
        curve = api.get(f"/v1/tunings/{tuning_id}/points")
    if as_json:
        print_json({**tuning, **curve})
        return
    print_tunings([tuning])
    for notice in curve["notices"]:
        out.print(f"* {notice['text']}", markup=False, soft_wrap=True)
    print_report(tuning)


@tunings.command("watch")
def watch_tuning(
    tuning_id: TuningId,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Watch a run to its end."""
    with open_api(url, key) as api:
        _watch(api, str(tuning_id), as_json=as_json)


@tunings.command("cancel")
def cancel_tuning(tuning_id: TuningId, *, url: UrlOption = None, key: KeyOption = None) -> None:
    """Cancel a run: it stops after the step in progress, and nothing comes of it."""
    with open_api(url, key) as api:
        api.post(f"/v1/tunings/{tuning_id}/cancel", {})
    out.print("Cancelled.")


def _filter(
    videos: list[UUID] | None, tags: list[str] | None, sources: list[PairSource] | None
) -> dict[str, Any]:
    """Return which pairs are wanted, as the API takes it."""
    video_ids = None if videos is None else [str(each) for each in videos]
    return {"video_ids": video_ids, "tags": tags, "sources": sources}


def _find_model(api: Api, wanted: str) -> str:
    """Return the id of a model that is given by it or by name."""
    models = api.get("/v1/models")["models"]
    for model in models:
        if wanted in (model["id"], model["name"]):
            return str(model["id"])
    known = ", ".join(model["name"] for model in models)
    raise CliError(f"There is no model {wanted!r}; there are: {known}.", code=Exit.USAGE)


def _dry_run(api: Api, body: Mapping[str, Any], *, as_json: bool) -> None:
    if not as_json:
        err.print("Measuring a step ...")
    told = api.post("/v1/tunings", {**body, "dry_run": True})
    if as_json:
        print_json(told)
    else:
        print_dry_run(told)


def _say_requested(requested: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(requested)
        return
    out.print(f"Tuning {requested['id']} waits for its turn.")
    err.print(f"Watch it with `{command_name()} tunings watch {requested['id']}`.", soft_wrap=True)


def _watch(api: Api, tuning_id: str, *, as_json: bool) -> None:
    """Watch a run to its end, say how it ended, and leave with the right exit code."""
    try:
        watch(api, tuning_id, is_quiet=as_json)
    except KeyboardInterrupt:
        err.print(
            f"The run goes on; `{command_name()} tunings watch {tuning_id}` looks again, "
            f"`{command_name()} tunings cancel {tuning_id}` ends it.",
            soft_wrap=True,
        )
        raise typer.Exit(Exit.INTERRUPTED) from None
    tuning = api.get(f"/v1/tunings/{tuning_id}")
    if as_json:
        print_json(tuning)
    else:
        print_report(tuning)
    if tuning["state"] != "done":
        raise typer.Exit(Exit.FAILED)
