"""`models`: which models there are, bring one in, use another one."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from service import activations
from service.catalog.activation_tables import Trigger
from service.cli.bringing import add, bring_all_in_one, bring_clover
from service.cli.console import (
    CliError,
    JsonOption,
    escape,
    print_json,
    print_table,
)
from service.cli.model_registry import (
    active_digest,
    as_json_of,
    errors_as_sentences,
    open_catalog,
    open_sender,
    prepare_catalog,
    switch_to,
)
from service.cli.roots import load_settings, make_data_dir, require_database
from service.cli.switching import as_json_of_use, follow
from service.models import is_anything_embedded
from service.registry import Model, Registry
from service.settings import MIB, Settings

models = typer.Typer(help="List, add, import and use models.", no_args_is_help=True)


@models.command("list")
def list_models(*, as_json: JsonOption = False) -> None:
    """List the models of this data folder; the one that is searched is marked with *."""
    settings = load_settings()
    with errors_as_sentences(settings):
        found = Registry(settings.data_dir).list()
        digest = active_digest(settings)
    if as_json:
        print_json([as_json_of(model, digest) for model in found])
        return
    table = Table("", "Name", "Family", "Can", "MiB", "From", "Added", box=None)
    for model in found:
        table.add_row(
            "*" if model.facts.digest == digest else "",
            model.name,
            model.facts.family,
            model.abilities,
            f"{model.size_bytes / MIB:.1f}",
            escape(model.source),
            f"{model.added_at:%Y-%m-%d %H:%M}" if model.added_at else "",
        )
    print_table(table)


@models.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="As `models list` shows it.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a model is and can do, where it came from, and what its import reported."""
    settings = load_settings()
    with errors_as_sentences(settings):
        model = Registry(settings.data_dir).get(name)
        told: dict[str, Any] = {
            **as_json_of(model, active_digest(settings)),
            "card": model.card(),
        }
    if as_json:
        print_json(told)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in told.items():
        shown = value if isinstance(value, str) else json.dumps(value, indent=2, default=str)
        table.add_row(f"[bold]{key}[/]", escape(shown))
    print_table(table)


@models.command("use")
def use(
    name: Annotated[str, typer.Argument(help="As `models list` shows it.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Switch although the checks before it fail.")
    ] = False,
    wait: Annotated[
        bool, typer.Option(help="Show how far it is until it is searched; or return at once.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Search with a model: now, or as soon as a worker has embedded every video with it."""
    settings = load_settings()
    make_data_dir(settings)
    with errors_as_sentences(settings):
        model = Registry(settings.data_dir).get(name)
        prepare_catalog(settings)
        _refuse_other_bundle(settings, model)
        used = switch_to(settings, model, force=force)
        follow(settings, name, used, wait=wait and not as_json)
    if as_json:
        print_json({"name": name, **as_json_of_use(used)})


@models.command("rollback")
def roll_back(*, as_json: JsonOption = False) -> None:
    """Go back to the model that was searched before; at once, while it is kept."""
    settings = load_settings()
    require_database(settings)
    with errors_as_sentences(settings):
        with open_catalog(settings) as sessions, open_sender(settings) as sender:
            version, requested = activations.roll_back(
                sessions,
                sender,
                Registry(settings.data_dir),
                trigger=Trigger.COMMAND,
                rollback_window_s=settings.rollback_window_s,
            )
        used = activations.Used(requested=requested)
        follow(settings, version.name, used, wait=not as_json)
    if as_json:
        print_json({"name": version.name, **as_json_of_use(used)})


def _refuse_other_bundle(settings: Settings, model: Model) -> None:
    """Before the first video a start takes the configured bundle, whatever is used."""
    if settings.bundle is None or settings.bundle.absolute() == model.path:
        return
    with open_catalog(settings) as sessions, sessions() as session:
        if is_anything_embedded(session):
            return
    raise CliError(
        f"REELSEEK_BUNDLE names {settings.bundle}, which the service would start with while no "
        f"video is embedded; unset it, here and for the service, then use {model.name}."
    )


models.command("add")(add)
models.command("import")(bring_all_in_one)
models.command("import-clover")(bring_clover)
