"""`ingest` and `demo`: put videos in."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from service.cli.client import Api, KeyOption, UrlOption, open_api
from service.cli.console import Exit, JsonOption, command_name, err, escape, out, print_json
from service.cli.uploading import Upload, find_videos, follow, refresh, send

NUM_DEMO_VIDEOS = 60
DEMO_SEED = 1
NUM_SUGGESTIONS = 5


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Video files, or folders of them.")],
    *,
    title: Annotated[str | None, typer.Option(help="Title; the file's name if unset.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be given again.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Upload videos and wait until they can be searched.

    Doing it again is harmless: content that is already there is recognised and said so. The exit
    code is 1 if any file was refused or failed.
    """
    uploads = [Upload(path=path, title=title, tags=tuple(tag or ())) for path in find_videos(paths)]
    with open_api(url, key) as api:
        _upload_all(api, uploads, is_quiet=as_json)
    _report(uploads, as_json=as_json)


def demo(
    *,
    count: Annotated[
        int, typer.Option(min=1, max=NUM_DEMO_VIDEOS, help="How many.")
    ] = NUM_DEMO_VIDEOS,
    seed: Annotated[int, typer.Option(help="Which ones.")] = DEMO_SEED,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Upload small made-up videos of moving shapes, which the bundled model knows."""
    from model.world.movies import demo_videos  # noqa: PLC0415 (slow to import; no other needs it)

    with open_api(url, key) as api, tempfile.TemporaryDirectory(prefix="reelseek-demo-") as folder:
        api.get("/v1/system")  # before the work of making them: is anybody there?
        if not as_json:
            out.print(f"Making {count} videos ...")
        paths = demo_videos(Path(folder), count=count, seed=seed)
        captions = json.loads(Path(folder, "captions.json").read_text())
        uploads = [Upload(path=path, title=path.stem, tags=("demo",)) for path in paths]
        _upload_all(api, uploads, is_quiet=as_json)
    _report(uploads, as_json=as_json)
    if not as_json:
        out.print("Now search for what happens in them, for example:")
        for path in paths[:NUM_SUGGESTIONS]:
            out.print(f'  {command_name()} search "{captions[path.name][-1]}"', soft_wrap=True)


def _upload_all(api: Api, uploads: Sequence[Upload], *, is_quiet: bool) -> None:
    """Upload one after the other, while the worker takes those that are there."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=err, disable=is_quiet) as progress:
        bars = Bars(progress, total=len(uploads), is_quiet=is_quiet)
        for upload in uploads:
            bars.show(upload)
            send(api, upload, on_progress=bars.show)
            bars.show(upload)
            for earlier in uploads:
                if earlier.state in ("queued", "processing"):
                    refresh(api, earlier)
                    bars.show(earlier)
        follow(api, uploads, on_progress=bars.show)


class Bars:
    """One bar for everything, and one for each file that something happens to."""

    def __init__(self, progress: Progress, *, total: int, is_quiet: bool) -> None:
        self._progress = progress
        self._is_quiet = is_quiet
        self._all = progress.add_task("All videos", total=total)
        self._bars: dict[Path, TaskID] = {}
        self._over: set[Path] = set()

    def show(self, upload: Upload) -> None:
        """Bring one file's bar up to date."""
        if upload.path in self._over:
            return
        if upload.is_over:
            self._close(upload)
            return
        bar = self._bars.get(upload.path)
        if bar is None:
            bar = self._bars[upload.path] = self._progress.add_task("", total=100.0)
        self._progress.update(
            bar,
            description=f"  {escape(upload.label[-40:])} {upload.state}",
            completed=upload.percent,
            visible=upload.state != "queued",
        )

    def _close(self, upload: Upload) -> None:
        self._over.add(upload.path)
        if upload.path in self._bars:
            self._progress.remove_task(self._bars.pop(upload.path))
        self._progress.advance(self._all)
        if self._is_quiet:
            return
        colour = "green" if upload.state == "ready" else "yellow" if upload.is_good else "red"
        words = "was already here, " if upload.is_duplicate else ""
        why = f": {upload.detail}" if upload.detail else ""
        self._progress.console.print(
            f"[{colour}]{words}{upload.state:8}[/] {escape(upload.label)}{escape(why)}",
            soft_wrap=True,
        )


def _report(uploads: Sequence[Upload], *, as_json: bool) -> None:
    """Say how it ended, and leave with the right exit code."""
    num_good = sum(upload.is_good for upload in uploads)
    if as_json:
        print_json([upload.as_json() for upload in uploads])
    else:
        num_known = sum(upload.is_duplicate for upload in uploads)
        known = f" ({num_known} of them were already here)" if num_known else ""
        out.print(f"{num_good} of {len(uploads)} videos can be searched{known}.")
    if num_good < len(uploads):
        raise typer.Exit(Exit.FAILED)
