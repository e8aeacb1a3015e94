"""`models`: which models there are, bring one in, use another one."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

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
    prepare_catalog,
    print_use,
    switch_to,
)
from service.cli.roots import load_settings, make_data_dir
from service.registry import Registry
from service.settings import MIB

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
    reembed: Annotated[
        bool, typer.Option("--reembed", help="Embed all videos again; each is found when done.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search with a model from now on."""
    settings = load_settings()
    make_data_dir(settings)
    with errors_as_sentences(settings):
        model = Registry(settings.data_dir).get(name)
        if settings.bundle is not None and settings.bundle.absolute() != model.path:
            raise CliError(
                f"REELSEEK_BUNDLE names {settings.bundle}, which the service would start with "
                f"whatever is used; unset it, here and for the service, then use {name}."
            )
        prepare_catalog(settings)
        used = switch_to(settings, model, reembed=reembed)
    if as_json:
        print_json({"name": name, "was_active": used.was_active, "num_queued": used.num_queued})
    else:
        print_use(name, used)


models.command("add")(add)
models.command("import")(bring_all_in_one)
models.command("import-clover")(bring_clover)
