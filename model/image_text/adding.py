"""Take a published image-text model over as a bundle."""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.bundle import load_bundle
from model.bundle_files import CARD, BundleError, write_bundle
from model.composite import copy_matcher
from model.image_text.fetching import CONFIG, Source, find_source
from model.image_text.retriever import FAMILY
from model.importing.errors import ImportRefusedError
from model.retrieval import clips_to_tensor

MOST_FRAMES = 64
LARGEST_SCALE = 1000.0
LICENCE = re.compile(r"^licen[cs]e(?:_name)?:\s*[\"']?([\w.+ -]{1,60})", re.MULTILINE)
"""In the front matter of a model's README."""
README_CHARACTERS = 20_000
CHECK_TEXT = "a photo"


def add_model(
    source: str,
    out: Path,
    *,
    frames: int = 4,
    matcher: Path | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Make a bundle of a CLIP-, SigLIP- or SigLIP-2-style model, and return its card.

    Nothing that comes with the model is ever run. The bundle is complete when it appears.

    Args:
        source: name on the Hugging Face hub, as `openai/clip-vit-base-patch32`, or a folder.
        out: where the bundle goes; must not exist, or be an empty folder.
        frames: T, how many frames of a segment are averaged.
        matcher: a bundle with a fused pass, to re-rank what this one finds.
        revision: branch, tag or commit on the hub.

    Raises:
        ImportRefusedError: it cannot be had, or is no such model; the sentence says why.
    """
    if not 1 <= frames <= MOST_FRAMES:
        raise ImportRefusedError(f"{frames} frames of a segment: it must be 1 to {MOST_FRAMES}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ImportRefusedError(f"{out} exists already.")
    found = find_source(source, revision)
    with _staged(out) as staged:
        try:
            _write(found, staged, frames, matcher)
            _check(staged)
        except BundleError as error:
            message = str(error).replace(str(staged), str(found.folder))
            raise ImportRefusedError(f"{message}.") from error
        return dict(json.loads((staged / CARD).read_text(encoding="utf-8")))


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that takes its place if all goes well."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            yield staged
            staged.chmod(0o755)
            os.replace(staged, out)  # noqa: PTH105 (over an empty folder too)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise ImportRefusedError(f"{out} cannot be written: {error.strerror or error}.") from error


def _write(found: Source, folder: Path, frames: int, matcher: Path | None) -> None:
    # They import transformers, which takes seconds; what can be refused before has been.
    from model.image_text.published_images import read_published_images  # noqa: PLC0415
    from model.image_text.published_sizes import read_published_sizes  # noqa: PLC0415
    from model.image_text.published_texts import read_published_texts  # noqa: PLC0415
    from model.image_text.published_weights import read_published_weights  # noqa: PLC0415

    sizes = read_published_sizes(found.folder / CONFIG)
    preprocessing = read_published_images(found.folder, sizes, frames=frames)
    tokenizer_json, rules = read_published_texts(found.folder, sizes)
    weights = read_published_weights(found.weights, sizes)
    settings = {
        "sizes": asdict(sizes),
        "preprocessing": asdict(preprocessing),
        "texts": asdict(rules),
        "similarity_weight": _scale(weights.state["logit_scale"]),
        **({} if matcher is None else copy_matcher(matcher, folder)),
    }
    write_bundle(
        folder,
        family=FAMILY,
        settings=settings,
        state=weights.state,
        tokenizer_json=tokenizer_json,
        card=_card(found, sizes.model_type, frames, weights.ignored),
    )


def _scale(logit_scale: torch.Tensor) -> float:
    """Return what a similarity of 1 counts in the log-odds that the model was trained with."""
    value = float(logit_scale.exp().max())
    if not math.isfinite(value):
        raise ImportRefusedError("Its logit_scale is not a finite number: the weights are damaged.")
    return min(round(value, 3), LARGEST_SCALE)


def _card(found: Source, kind: str, frames: int, ignored: list[str]) -> dict[str, Any]:
    import transformers  # noqa: PLC0415 (loaded by now)

    return {
        "name": found.name if found.revision else found.folder.resolve().name,
        "source": found.name,
        "revision": found.revision,
        "licence": _licence(found.folder / "README.md"),
        "kind": kind,
        "frames_per_clip": frames,
        "ignored_weights": ignored,
        "read_with": f"transformers {transformers.__version__}",
    }


def _licence(readme: Path) -> str | None:
    """Return the licence that a model's README states, if it does."""
    try:
        text = readme.read_text(encoding="utf-8", errors="replace")[:README_CHARACTERS]
    except OSError:
        return None
    front = text.split("---")[1] if text.startswith("---") else ""
    stated = LICENCE.search(front)
    return stated[1].strip() if stated else None


def _check(folder: Path) -> None:
    """Load the bundle as the service will, and use it once."""
    loaded = load_bundle(folder, precision="float32")
    side = loaded.spec.frame_size
    clip = np.zeros((loaded.spec.frames_per_clip, side, side, 3), np.uint8)
    text = loaded.embed_text(loaded.tokenize([CHECK_TEXT]))
    video = loaded.embed_video(clips_to_tensor([clip]))
    for embedding in (text, video):
        if not math.isclose(float(embedding.norm()), 1.0, abs_tol=1e-3):
            raise ImportRefusedError("Its weights are damaged: embeddings are not finite.")
