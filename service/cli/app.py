"""The commands of `reelseek`, and how it fails: one sentence on stderr and an exit code."""

import sys

import typer

from service.cli.audit import audit
from service.cli.backup import backup, restore
from service.cli.captions import captions
from service.cli.console import CliError, Exit, print_failure
from service.cli.doctor import doctor
from service.cli.evaluate import evaluate
from service.cli.explain import explain
from service.cli.importing import import_videos
from service.cli.ingest import demo, ingest
from service.cli.keys import keys, login
from service.cli.models import models
from service.cli.search import search
from service.cli.serve import api, migrate, serve, worker
from service.cli.sets import sets
from service.cli.train import train
from service.cli.tune import tune, tunings
from service.cli.webhooks import webhooks

app = typer.Typer(
    help="Search your own videos by what happens in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Settings are environment variables REELSEEK_...; docs/operations.md lists them.",
)
app.command()(serve)
app.command()(worker)
app.command()(migrate)
app.command()(login)
app.command()(ingest)
app.command("import")(import_videos)
app.command()(search)
app.command()(explain)
app.command()(demo)
app.command()(evaluate)
app.command()(train)
app.command()(tune)
app.command()(doctor)
app.command()(audit)
app.command()(backup)
app.command()(restore)
app.command()(api)
app.add_typer(keys, name="keys")
app.add_typer(models, name="models")
app.add_typer(captions, name="captions")
app.add_typer(sets, name="sets")
app.add_typer(tunings, name="tunings")
app.add_typer(webhooks, name="webhooks")


def main() -> None:
    """Run the command."""
    try:
        app()
    except CliError as error:
        print_failure(error.sentence)
        sys.exit(error.code)
    except BrokenPipeError:  # `reelseek search ... | head`
        sys.stderr.close()
        sys.exit(Exit.OK)
