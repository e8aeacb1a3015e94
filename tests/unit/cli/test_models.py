"""`reelseek models`: what each command prints, registers, and refuses."""

import json
import os
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from service.cli import main
from tests.factories_checkpoints import SMALL_DIMS, make_state, save_lightning
from tests.factories_model import make_tiny_bundle, make_tokenizer


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """Runs `reelseek` on one data folder, in this process: starting one takes seconds."""

    def __init__(self, data_dir: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture):
        self.data_dir = data_dir
        self._patch = patch
        self._output = output

    def __call__(self, *arguments: object, **environment: str) -> Done:
        """Run it to its end."""
        with self._patch.context() as patch:
            patch.setattr("sys.argv", ["reelseek", *map(str, arguments)])
            patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
            for name in [name for name in os.environ if name.startswith("REELSEEK_")]:
                patch.delenv(name)
            for name, value in {"REELSEEK_DATA_DIR": str(self.data_dir), **environment}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        return Done(int(ended.value.code or 0), *self._output.readouterr())

    def models(self) -> dict[str, dict]:
        """Return what `models list` knows, by name."""
        listed = self("models", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        return {model["name"]: model for model in json.loads(listed.stdout)}

    @property
    def folders(self) -> list[str]:
        """What lies below the folder of models."""
        folder = self.data_dir / "models"
        return sorted(each.name for each in folder.glob("*") if each.name != ".lock")


@pytest.fixture
def reelseek(tmp_path, monkeypatch, capsys) -> Command:
    return Command(tmp_path / "data", monkeypatch, capsys)


@pytest.fixture
def words(tmp_path) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(make_tokenizer().to_str())
    return path


def sentence(done: Done) -> str:
    """Return what it printed as its failure: one sentence, no traceback."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("reelseek: ")
    return line


def test_a_checkpoint_is_imported_and_used_at_once_in_an_empty_folder(reelseek, words, tmp_path):
    file = save_lightning(tmp_path / "tuned.ckpt", make_state())

    done = reelseek("models", "import", file, "--tokenizer", words)

    assert done.returncode == 0, done.stderr
    assert "Recognised as All-in-One of width 128" in done.stdout
    assert "Ignored: 1 keys." in done.stdout
    assert "tuned is registered: search, re-rank." in done.stdout
    assert "it is what is searched from now on" in done.stdout
    models = reelseek.models()
    assert models["tuned"]["is_active"]
    assert not models["bundled"]["is_active"]
    shown = json.loads(reelseek("models", "show", "tuned", "--json").stdout)
    assert shown["card"]["import"]["ignored"].keys() == {"text_embeddings.position_ids"}
    assert shown["source"] == str(file)
    assert "tuned" in reelseek("models", "list").stdout


def test_a_matcher_only_file_is_registered_and_says_what_to_do(reelseek, words, tmp_path):
    dims = replace(SMALL_DIMS, has_projections=False)
    file = save_lightning(tmp_path / "pretrained.ckpt", make_state(dims=dims))

    done = reelseek("models", "import", file, "--tokenizer", words, "--name", "pre", "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["can_search"], told["can_match"], told["is_active"]) == (False, True, False)
    assert any("matcher only" in note for note in told["report"]["notes"])
    assert "matcher only" in reelseek("models", "list").stdout
    said = sentence(reelseek("models", "use", "pre"))
    assert "reelseek train --from pre" in said
    assert "--matcher pre" in said


def test_a_matcher_that_is_no_bundle_is_named_as_one(reelseek, tmp_path):
    said = sentence(reelseek("models", "add", tmp_path, "--name", "new", "--matcher", tmp_path))

    assert f"--matcher {tmp_path}: no folder of a bundle and no name of a model" in said


def test_commands_take_the_model_that_is_searched_if_none_is_named(reelseek, tmp_path):
    added = reelseek("models", "add", make_tiny_bundle(tmp_path / "mine"), "--name", "mine")
    assert added.returncode == 0, added.stderr

    measured = reelseek("evaluate", "--world", 4)
    checks = json.loads(reelseek("doctor", "--json").stdout)["checks"]

    assert measured.stderr.startswith("mine: 4 made-up videos")
    assert "all_in_one of mine" in [check["finding"] for check in checks]


def test_a_bundle_that_was_trained_elsewhere_is_added_whole(reelseek, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "trained")

    done = reelseek("models", "add", bundle, "--name", "mine", "--json")

    assert done.returncode == 0, done.stderr
    digest = json.loads((bundle / "card.json").read_text())["digest"]
    assert json.loads(done.stdout)["digest"] == digest
    shutil.rmtree(bundle)
    assert reelseek.models()["mine"]["digest"] == digest
    assert sentence(reelseek("models", "add", "nowhere/at-all", "--name", "mine"))


class Runs:
    """Pickles as a call of `os.system`."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


def write_bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(20_000_000))
    return path


def bad_files(folder: Path, trap: Path) -> dict[str, Path]:
    """Write files that must not be imported, by what the refusal must say."""
    good = save_lightning(folder / "good.ckpt", make_state())
    (folder / "empty.ckpt").touch()
    (folder / "page.ckpt").write_text("<html>Please sign in</html>")
    (folder / "cut.ckpt").write_bytes(good.read_bytes()[:5000])
    (folder / "header.safetensors").write_bytes(b"\xff" * 7 + b"\x7f{}")
    diverged = make_state()
    diverged["pooler.dense.bias"][0] = float("nan")
    swapped = make_state()
    swapped["pooler.dense.bias"] = torch.ones(7)
    code = {"state_dict": make_state(), "callbacks": Runs(f"touch {trap}")}
    torch.save(code, folder / "code.ckpt")
    return {
        "truncated": folder / "cut.ckpt",
        "it is empty": folder / "empty.ckpt",
        "neither a file of torch.save nor safetensors": folder / "page.ckpt",
        "it is a folder": folder,
        "header": folder / "header.safetensors",
        "not finite": save_lightning(folder / "nan.ckpt", diverged),
        "has the shape (7,)": save_lightning(folder / "shape.ckpt", swapped),
        "could run code": folder / "code.ckpt",
        "is compressed": write_bomb(folder / "bomb.ckpt"),
        "No such file": folder / "nowhere.ckpt",
    }


def test_bad_files_are_refused_and_nothing_is_run_or_registered(reelseek, words, tmp_path):
    trap = tmp_path / "was-run"
    folder = tmp_path / "bad"
    folder.mkdir()

    for why, file in bad_files(folder, trap).items():
        done = reelseek("models", "import", file, "--tokenizer", words, "--name", "bad")
        assert why in sentence(done)
    assert not trap.exists()
    assert reelseek.folders == []
    assert list(reelseek.models()) == ["bundled"]


def test_names_and_options_that_cannot_be_are_sentences(reelseek, words, tmp_path):
    file = save_lightning(tmp_path / "tuned.ckpt", make_state())
    bring = ("models", "import", file, "--tokenizer", words)

    assert "no name for a model" in sentence(reelseek(*bring, "--name", "../up"))
    assert "comes along" in sentence(reelseek(*bring, "--name", "bundled"))
    assert "there are: bundled" in sentence(reelseek("models", "show", "nothing"))
    assert "there are: bundled" in sentence(reelseek("models", "use", "nothing"))
    assert "could not be fetched" in sentence(reelseek("models", "import", file))
    assert reelseek("models", "import-clover").returncode == 2
    said = sentence(reelseek("models", "use", "bundled", REELSEEK_BUNDLE=str(tmp_path)))
    assert "REELSEEK_BUNDLE" in said
    assert reelseek.folders == []
