"""The models that were added to this data folder: one bundle folder each, below data_dir/models.

A bundle is made in a folder of its own and gets its name by a rename, so nothing is ever half
there: what a killed command leaves behind is removed by the next one.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.durable import full_disk_is_said, make_durable_folder, sync_file, sync_folder
from service.errors import ConflictError, InvalidInputError, NotFoundError

FOLDER = "models"
KEPT = "models-kept"
"""Copies, by digest, of bundles outside the data folder: an update may take those away."""
BUNDLED = "bundled"
"""The name of the checkpoint that comes along; nothing else may have it."""
BUNDLED_PATH = Path(__file__).parents[1] / "model" / "bundled"
ABOUT = "about.json"
LOCK = ".lock"
DRAFT, REPLACED = ".adding-", ".replaced-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a bundle once it was loaded.

    Attributes:
        family: architecture, as `all_in_one`.
        digest: names the embedding space.
        can_search: it embeds texts and videos.
        can_match: it re-ranks.
        spec: what callers must know of the model, as JSON.
    """

    family: str
    digest: str
    can_search: bool
    can_match: bool
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered bundle.

    Attributes:
        name: what people call it.
        path: its folder.
        source: where it came from.
        added_at: when; None for the one that comes along.
        facts: what it is and can do.
    """

    name: str
    path: Path
    source: str
    added_at: datetime | None
    facts: Facts

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(each.stat().st_size for each in self.path.rglob("*") if each.is_file())

    @property
    def abilities(self) -> str:
        """What it can do, in two or three words."""
        if self.facts.can_search:
            return "search, re-rank" if self.facts.can_match else "search"
        return "matcher only" if self.facts.can_match else "to be trained"

    def card(self) -> dict[str, Any]:
        """Return what its card says."""
        return _read_json(self.path / "card.json")


class Draft:
    """A bundle that is being made.

    Attributes:
        folder: where to write it; it is not there yet.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "bundle"
        self._is_described = False

    def describe(self, facts: Facts, *, source: str) -> None:
        """Note what it is; only then it can be registered."""
        about = {
            **asdict(facts),
            "source": source,
            "added_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (self.folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        self._is_described = True

    def publish(self, place: Path) -> None:
        """Give it its name, durably."""
        if not self._is_described:
            raise ValueError("a bundle that was not described cannot be registered")
        for each in self.folder.rglob("*"):
            if each.is_file():
                sync_file(each)
        for each in (self.folder, *(each for each in self.folder.rglob("*") if each.is_dir())):
            sync_folder(each)
        self.folder.rename(place)
        sync_folder(place.parent)


class Registry:
    """The models below one data folder.

    Args:
        data_dir: the data folder; it need not exist to look.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.absolute() / FOLDER
        self.kept = data_dir.absolute() / KEPT

    def list(self) -> list[Model]:
        """Return all models by name, the one that comes along first."""
        found = [self._read(place) for place in sorted(self._folder.glob("*")) if _is_model(place)]
        return [_bundled(), *found]

    def get(self, name: str) -> Model:
        """Return a model.

        Raises:
            NotFoundError: there is none of this name.
        """
        if name == BUNDLED:
            return _bundled()
        place = self._folder / name
        if not NAME.fullmatch(name) or not _is_model(place):
            known = ", ".join(model.name for model in self.list())
            raise NotFoundError(f"There is no model {name!r}; there are: {known}.")
        return self._read(place)

    def locate(self, *, digest: str, registered: str) -> Path | None:
        """Return a folder that may hold a bundle, by where it was registered.

        A data folder may have moved since, and an update may have brought another bundle to the
        same place, so our own models and copies are looked at as well.

        Args:
            digest: of the bundle, as it was noted when it was added.
            registered: absolute path at that time, perhaps on another machine.
        """
        moved = [model.path for model in self.list()[1:] if model.facts.digest == digest]
        places = (Path(registered), *moved, self.kept / digest)
        there = [place for place in places if place.is_dir()]
        return next(
            (place for place in there if digest_of(place) == digest), next(iter(there), None)
        )

    @contextmanager
    def adding(self, name: str, *, replace: bool, kept: Iterable[str] = ()) -> Iterator[Draft]:
        """Make a bundle and register it when the block ends well; else nothing stays.

        Args:
            name: what to call it.
            replace: a model of this name may be there already, and then goes.
            kept: digests of bundles that must not be replaced because embeddings were made by them.

        Raises:
            InvalidInputError: the name is not allowed.
            ConflictError: the name is taken, or another command adds a model now.
            StorageFullError: the disk is full.
        """
        place = self._folder / check_name(name)
        make_durable_folder(self._folder)
        with self._locked(), full_disk_is_said():
            self._tidy()
            self._check_free(place, replace=replace, kept=set(kept))
            draft = Draft(Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._folder)))
            try:
                yield draft
                if place.exists():
                    self._check_free(place, replace=replace, kept=set(kept))
                    place.rename(self._folder / f"{REPLACED}{place.name}")
                draft.publish(place)
            finally:
                self._tidy()

    def _check_free(self, place: Path, *, replace: bool, kept: set[str]) -> None:
        if not os.path.lexists(place):
            return
        if not replace:
            raise ConflictError(
                f"There is a model {place.name!r} already; choose another --name, or --replace it."
            )
        if not _is_model(place):
            raise ConflictError(f"{place} is not a model; move it away.")
        if self._read(place).facts.digest in kept:
            raise ConflictError(
                f"Videos are embedded by the model {place.name!r}, so it cannot be replaced; "
                "choose another --name and `reelseek models use` it."
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep two commands from adding at once, and from tidying up after each other."""
        with (self._folder / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConflictError(
                    "Another command is adding a model now; try again when it is done."
                ) from None
            yield

    def _tidy(self) -> None:
        """Remove what a command left that was killed, and undo half a replacement."""
        for place in self._folder.glob(f"{REPLACED}*"):
            named = self._folder / place.name.removeprefix(REPLACED)
            if named.exists():
                shutil.rmtree(place)
            else:
                place.rename(named)
        for place in self._folder.glob(f"{DRAFT}*"):
            shutil.rmtree(place)

    def _read(self, place: Path) -> Model:
        about = _read_json(place / ABOUT)
        return Model(
            name=place.name,
            path=place,
            source=str(about["source"]),
            added_at=datetime.fromisoformat(about["added_at"]),
            facts=Facts(
                family=about["family"],
                digest=about["digest"],
                can_search=about["can_search"],
                can_match=about["can_match"],
                spec=about["spec"],
            ),
        )


def check_name(name: str) -> str:
    """Return a name that a model may have.

    Raises:
        InvalidInputError: it is not allowed.
    """
    if not NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} is no name for a model: use letters, digits, dots, dashes and underscores, "
            "a letter or digit first, 64 at most (--name)."
        )
    if name.lower() == BUNDLED:
        raise InvalidInputError(
            f"{BUNDLED!r} is the model that comes along; choose another --name."
        )
    return name


def name_of(source: str) -> str:
    """Return a name for what came from somewhere: `openai/clip-vit-base` -> `clip-vit-base`.

    Raises:
        InvalidInputError: nothing of it can be a name.
    """
    last = Path(source.rstrip("/")).name
    for suffix in (".ckpt", ".pth", ".pt", ".bin", ".safetensors"):
        last = last.removesuffix(suffix)
    return check_name(re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:64])


def digest_of(place: Path) -> str | None:
    """Return what the card of a bundle says; whoever loads it computes the digest anew."""
    try:
        return str(_read_json(place / "card.json").get("digest"))
    except (OSError, ValueError):
        return None


def _is_model(place: Path) -> bool:
    return not place.name.startswith(".") and not place.is_symlink() and (place / ABOUT).is_file()


def _bundled() -> Model:
    config, card = _read_json(BUNDLED_PATH / "config.json"), _read_json(BUNDLED_PATH / "card.json")
    dims = config["dims"]
    facts = Facts(
        family=config["family"],
        digest=card["digest"],
        can_search=dims.get("has_projections", True),
        can_match=dims.get("has_matching_head", True),
        spec={},
    )
    return Model(name=BUNDLED, path=BUNDLED_PATH, source="comes along", added_at=None, facts=facts)


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
