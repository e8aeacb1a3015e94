"""Models are registered whole or not at all, under names that play no tricks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ConflictError, InvalidInputError, NotFoundError
from service.registry import BUNDLED, BUNDLED_PATH, Facts, Registry, check_name, name_of

FACTS = Facts(
    family="all_in_one", digest="ab" * 32, can_search=True, can_match=False, spec={"frames": 3}
)


class StoppedError(Exception):
    """What stops a command in the middle."""


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def add(registry, name, content="weights", *, facts=FACTS, **options):
    with registry.adding(name, **{"replace": False, **options}) as draft:
        draft.folder.mkdir()
        (draft.folder / "model.safetensors").write_text(content)
        (draft.folder / "card.json").write_text('{"made": "here"}')
        draft.describe(facts, source="somewhere")


def names(registry):
    return [model.name for model in registry.list()]


def leftovers(tmp_path):
    return sorted(each.name for each in (tmp_path / "models").iterdir() if each.name != ".lock")


def test_without_any_there_is_the_one_that_comes_along(registry, tmp_path):
    (bundled,) = registry.list()

    assert (bundled.name, bundled.path) == (BUNDLED, BUNDLED_PATH)
    assert bundled == registry.get(BUNDLED)
    assert bundled.abilities == "search, re-rank"
    assert not any(tmp_path.iterdir())


def test_a_model_that_was_added_is_listed_with_all_that_was_noted(registry, tmp_path):
    add(registry, "mine")

    model = registry.get("mine")
    assert names(registry) == [BUNDLED, "mine"]
    assert model.facts == FACTS
    assert model.path == tmp_path / "models" / "mine"
    assert model.source == "somewhere"
    assert model.card() == {"made": "here"}
    assert model.abilities == "search"
    assert leftovers(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/etc", ".hidden", "-x", "a b", "ü", "a\n", "x" * 65, "a\0b"],
)
def test_names_that_play_tricks_are_refused(registry, tmp_path, name):
    with pytest.raises(InvalidInputError, match="no name for a model"):
        add(registry, name)
    with pytest.raises(NotFoundError, match="there are: bundled"):
        registry.get(name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bundled", "Bundled"])
def test_the_name_of_the_bundled_one_is_taken(name):
    with pytest.raises(InvalidInputError, match="comes along"):
        check_name(name)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("openai/clip-vit-base-patch32", "clip-vit-base-patch32"),
        ("/some/where/all in one+.ckpt", "all-in-one"),
        ("folder/", "folder"),
        ("weights.safetensors", "weights"),
    ],
)
def test_a_name_is_made_of_the_source(source, name):
    assert name_of(source) == name


def test_a_source_without_a_name_needs_one():
    with pytest.raises(InvalidInputError, match="--name"):
        name_of("/...")


def add_half(registry, name):
    with registry.adding(name, replace=False) as draft:
        draft.folder.mkdir()
        (draft.folder / "half").write_text("half")
        raise StoppedError


def test_a_failure_in_the_middle_leaves_nothing(registry, tmp_path):
    with pytest.raises(StoppedError):
        add_half(registry, "mine")

    assert names(registry) == [BUNDLED]
    assert leftovers(tmp_path) == []


def test_a_bundle_that_was_not_described_is_not_registered(registry, tmp_path):
    with pytest.raises(ValueError, match="not described"), registry.adding("a", replace=False) as d:
        d.folder.mkdir()

    assert leftovers(tmp_path) == []


def test_a_name_that_is_taken_is_refused_before_anything_is_made(registry):
    add(registry, "mine", "first")

    with pytest.raises(ConflictError, match="--replace"):
        add(registry, "mine", "second")
    assert (registry.get("mine").path / "model.safetensors").read_text() == "first"


def test_replacing_puts_the_new_one_in_its_place(registry, tmp_path):
    add(registry, "mine", "first")
    add(registry, "mine", "second", replace=True)

    assert (registry.get("mine").path / "model.safetensors").read_text() == "second"
    assert leftovers(tmp_path) == ["mine"]


def test_a_failed_replacement_leaves_the_old_one(registry, tmp_path):
    add(registry, "mine", "first")

    with pytest.raises(StoppedError), registry.adding("mine", replace=True):
        raise StoppedError
    assert (registry.get("mine").path / "model.safetensors").read_text() == "first"
    assert leftovers(tmp_path) == ["mine"]


def test_what_embedded_videos_cannot_be_replaced(registry):
    add(registry, "mine", "first")

    with pytest.raises(ConflictError, match="Videos are embedded by"):
        add(registry, "mine", "second", replace=True, kept=[FACTS.digest])


def test_what_is_no_model_is_neither_listed_nor_replaced(registry, tmp_path):
    add(registry, "mine")
    other = tmp_path / "models" / "other"
    other.mkdir()
    (tmp_path / "models" / "link").symlink_to("mine")

    assert names(registry) == [BUNDLED, "mine"]
    for name in ("other", "link"):
        with pytest.raises(ConflictError, match="not a model"):
            add(registry, name, replace=True)


def test_two_commands_cannot_add_at_once(registry, tmp_path):
    with registry.adding("one", replace=False) as draft:
        with pytest.raises(ConflictError, match="Another command"):
            add(Registry(tmp_path), "two")
        draft.folder.mkdir()
        draft.describe(FACTS, source="here")

    assert names(registry) == [BUNDLED, "one"]


KILLED = """
import os, signal, sys
from pathlib import Path
from service.registry import Registry

with Registry(Path(sys.argv[1])).adding("mine", replace=True) as draft:
    draft.folder.mkdir()
    (draft.folder / "model.safetensors").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_command_left_is_not_listed_and_goes_with_the_next(registry, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL
    (left,) = leftovers(tmp_path)
    assert left.startswith(".adding-")
    assert names(registry) == [BUNDLED]
    add(registry, "other")
    assert leftovers(tmp_path) == ["other"]


def test_half_a_replacement_is_undone_by_the_next_command(registry, tmp_path):
    add(registry, "mine", "first")
    folder = tmp_path / "models"
    (folder / "mine").rename(folder / ".replaced-mine")  # as a kill between two renames leaves it

    add(registry, "other")

    assert leftovers(tmp_path) == ["mine", "other"]
    assert (registry.get("mine").path / "model.safetensors").read_text() == "first"


def test_a_bundle_is_found_where_it_was_and_where_its_data_folder_moved(tmp_path):
    before = Registry(tmp_path / "before")
    add(before, "mine")
    registered = str(before.get("mine").path)

    assert before.locate(digest=FACTS.digest, registered=registered) == Path(registered)
    (tmp_path / "before").rename(tmp_path / "after")
    after = Registry(tmp_path / "after")
    assert after.locate(digest=FACTS.digest, registered=registered) == after.get("mine").path
    assert after.locate(digest="0" * 64, registered=registered) is None
