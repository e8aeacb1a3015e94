"""`models add`, `models import`, `models import-clover`: bring a model in and register it."""

import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import CliError, Exit, JsonOption, command_name, err, out, print_json
from service.cli.model_registry import (
    active_digest,
    as_json_of,
    digests_in_use,
    errors_as_sentences,
    open_catalog,
    prepare_catalog,
    switch_to,
)
from service.cli.roots import load_settings, make_data_dir
from service.errors import NotFoundError
from service.models import is_anything_embedded, why_not
from service.registry import Model, Registry, check_name, name_of
from service.settings import Settings

DEFAULT_FRAMES = 4
"""Frames of a clip that an image-text model averages, if nobody says."""

NameOption = Annotated[str | None, typer.Option(help="What to call it; if unset, as its source.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace one of the same name.")]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_HUB_NAME",
        help="A tokenizer.json, a vocab.txt, a folder with one, or a model's name on the hub; "
        "BERT uncased from the hub if unset.",
    ),
]


class Pixels(StrEnum):
    """Which mean and deviation pixels are normalised with."""

    IMAGENET = "imagenet"
    V100 = "v100"


def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="HUB_NAME_OR_FOLDER",
            help="An image-text model of the hub, as openai/clip-vit-base-patch32, or a folder "
            "with one, or the folder of a bundle.",
        ),
    ],
    *,
    name: NameOption = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip that are averaged.")
    ] = None,
    matcher: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_FOLDER", help="A model that re-ranks what this one finds."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add a CLIP- or SigLIP-style model, or a bundle that was trained elsewhere."""
    settings = load_settings()
    folder = Path(source)
    if (folder / "card.json").is_file() and (folder / "config.json").is_file():
        if frames or matcher or revision:
            raise CliError(f"{folder} is a bundle: it is taken as it is, without further options.")
        _bring(settings, source, lambda to: _copy(folder, to), name, as_json, replace=replace)
        return

    def build(to: Path) -> list[str]:
        from model.image_text.adding import add_model  # noqa: PLC0415 (torch is slow to import)

        add_model(
            source,
            to,
            frames=frames or DEFAULT_FRAMES,
            matcher=_find_matcher(settings, matcher),
            revision=revision,
        )
        return []

    _bring(settings, source, build, name, as_json, replace=replace)


def bring_all_in_one(
    file: Annotated[Path, typer.Argument(help="A released All-in-One checkpoint (.ckpt).")],
    *,
    tokenizer: TokenizerOption = None,
    name: NameOption = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip; as in the file if unset.")
    ] = None,
    normalisation: Annotated[
        Pixels,
        typer.Option(help="Of pixels: ImageNet's, or 0.45 and 0.225 as base+ was trained with."),
    ] = Pixels.IMAGENET,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a released All-in-One file into a model; nothing in the file is ever run."""

    def build(to: Path) -> list[str]:
        from model.importing.all_in_one import import_all_in_one  # noqa: PLC0415 (torch is slow)

        report = import_all_in_one(
            file,
            to,
            tokenizer=tokenizer,
            frames=frames,
            normalisation=normalisation.value,
        )
        return report.as_text().splitlines()

    _bring(load_settings(), str(file), build, name, as_json, replace=replace)


def bring_clover(
    file: Annotated[
        Path | None, typer.Argument(help="A checkpoint of the published code, if you have one.")
    ] = None,
    *,
    swin: Annotated[Path | None, typer.Option(help="Else weights of a Video Swin ...")] = None,
    bert: Annotated[Path | None, typer.Option(help="... and of a BERT, or its folder.")] = None,
    tokenizer: TokenizerOption = None,
    name: NameOption = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip; the model's own if unset.")
    ] = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a Clover checkpoint into a model, or public weights of its parts into one to train."""
    if (file is None) == (swin is None or bert is None) or (swin is None) != (bert is None):
        raise CliError("Give a checkpoint, or both --swin and --bert.", code=Exit.USAGE)

    def build(to: Path) -> list[str]:
        from model.clover import importing  # noqa: PLC0415 (torch is slow to import)

        if file is not None:
            report = importing.import_checkpoint(file, to, tokenizer=tokenizer, frames=frames)
        elif swin is not None and bert is not None:
            given = {} if frames is None else {"frames": frames}
            report = importing.import_parts(swin, bert, to, tokenizer=tokenizer, **given)
        return report.as_text().splitlines()

    source = str(file) if file else f"{swin}, {bert}"
    wanted = name or (name_of(str(file)) if file else "clover")
    _bring(load_settings(), source, build, wanted, as_json, replace=replace)


def _bring(
    settings: Settings,
    source: str,
    build: Callable[[Path], list[str]],
    name: str | None,
    as_json: bool,  # noqa: FBT001 (handed through)
    *,
    replace: bool,
) -> None:
    """Make a bundle, register it, and use it if nothing was embedded yet."""
    make_data_dir(settings)
    registry = Registry(settings.data_dir)
    with errors_as_sentences(settings):
        wanted = check_name(name) if name else name_of(source)
        prepare_catalog(settings)
        with registry.adding(wanted, replace=replace, kept=digests_in_use(settings)) as draft:
            told = build(draft.folder)
            from service.encoder import read_facts  # noqa: PLC0415 (torch is slow to import)

            draft.describe(read_facts(draft.folder), source=source)
        model = registry.get(wanted)
        used = _use_if_first(settings, model)
    if as_json:
        report = model.card().get("import")
        print_json({**as_json_of(model, active_digest(settings)), "report": report})
        return
    for line in told:
        out.print(line, markup=False, soft_wrap=True)
    out.print(f"{model.name} is registered: {model.abilities}.")
    _say_next(model, is_used=used)


def _use_if_first(settings: Settings, model: Model) -> bool:
    """Search with it at once if nobody configured another one and nothing is embedded yet."""
    if not model.facts.can_search or settings.bundle is not None:
        return False
    with open_catalog(settings) as sessions, sessions() as session:
        if is_anything_embedded(session):
            return False
    switch_to(settings, model)
    return True


def _say_next(model: Model, *, is_used: bool) -> None:
    if not model.facts.can_search:
        err.print(why_not(model), soft_wrap=True, markup=False)
    elif is_used:
        out.print("No video is embedded yet, so it is what is searched from now on.")
    else:
        out.print(f"Search with it: {command_name()} models use {model.name}")


def _find_matcher(settings: Settings, matcher: str | None) -> Path | None:
    """Return the folder of a matcher, by name or by path."""
    if matcher is None:
        return None
    folder = Path(matcher)
    if (folder / "card.json").is_file():
        return folder
    try:
        return Registry(settings.data_dir).get(matcher).path
    except NotFoundError as error:
        raise CliError(
            f"--matcher {matcher}: no folder of a bundle and no name of a model. {error.detail}"
        ) from error


def _copy(bundle: Path, to: Path) -> list[str]:
    """Copy the files of a bundle, and those of the matcher in it."""
    from model.bundle_files import CARD, SEALED  # noqa: PLC0415 (torch is slow to import)

    for folder in (bundle, *(each.parent for each in bundle.glob(f"*/{CARD}"))):
        target = to / folder.relative_to(bundle)
        target.mkdir()
        for file in (*SEALED, CARD):
            shutil.copyfile(folder / file, target / file)
    return []
