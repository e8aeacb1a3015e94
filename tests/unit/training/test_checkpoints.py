"""Checkpoints: whole or not there, damaged ones are passed over, of another run refused."""

import pytest

from model.checkpoints import CheckpointError, Checkpoints

SETTINGS = {"seed": 1}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "run", SETTINGS)


def save(checkpoints, *steps):
    for step in steps:
        checkpoints.save(step, lambda path, n=step: path.write_text(f"state {n}"), {"rows": step})


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_newest_three_are_kept(checkpoints):
    save(checkpoints, 0, 5, 90, 100)
    assert names(checkpoints) == ["step-00000005", "step-00000090", "step-00000100"]
    found = checkpoints.newest()
    assert (found.step, found.facts, found.state.read_text()) == (100, {"rows": 100}, "state 100")


def test_there_may_be_none(checkpoints):
    assert checkpoints.is_empty
    assert checkpoints.newest() is None


@pytest.mark.parametrize("damage", ["changed", "cut", "no manifest", "no state", "odd manifest"])
def test_a_damaged_one_is_passed_over_and_reported_and_can_be_written_again(checkpoints, damage):
    save(checkpoints, 1, 2)
    state = checkpoints.folder / "step-00000002" / "run.safetensors"
    manifest = state.with_name("manifest.json")
    if damage in ("changed", "cut"):
        state.write_text("state 3" if damage == "changed" else "sta")
    elif damage == "odd manifest":
        manifest.write_text("[1]")
    else:
        (manifest if damage == "no manifest" else state).unlink()
    said = []
    assert checkpoints.newest(said.append).step == 1
    assert len(said) == 1
    assert "step-00000002 is damaged" in said[0]
    save(checkpoints, 2)
    assert checkpoints.newest(said.append).step == 2
    assert len(said) == 1


def test_one_that_was_cut_off_while_it_was_written_is_not_seen(checkpoints):
    save(checkpoints, 1)

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.save(2, fail, {})
    assert checkpoints.newest().step == 1
    save(checkpoints, 3)
    assert names(checkpoints) == ["step-00000001", "step-00000003"]


def test_checkpoints_of_another_run_are_refused(checkpoints):
    save(checkpoints, 1)
    other = Checkpoints(checkpoints.folder, {"seed": 2})
    with pytest.raises(CheckpointError, match="other settings or pairs"):
        other.newest()
