"""`reelseek train`: the real command, alone and as two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.all_in_one.network import build
from model.bundle import load_bundle, save_bundle
from service.cli.app import main
from tests.factories_training import ALL_IN_ONE, PREPROCESSING, TOKENIZER
from tests.factories_video import make_video

REPOSITORY = Path(__file__).parents[3]
WITHIN_S = 900


@pytest.fixture
def footage(tmp_path):
    """A tiny bundle, a folder of videos, and a file with their captions."""
    torch.manual_seed(0)
    save_bundle(
        tmp_path / "source",
        network=build(ALL_IN_ONE),
        dims=ALL_IN_ONE,
        preprocessing=PREPROCESSING,
        tokenizer_json=TOKENIZER.to_str(),
        card={"name": "tiny"},
    )
    lines = []
    for number in range(4):
        make_video(tmp_path / f"{number}.mp4", seconds=1.0, seed=number)
        lines.append({"file": f"{number}.mp4", "caption": f"a zebra and {number} pandas"})
    lines.append({"file": "missing.mp4", "caption": "nothing"})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def words_of(footage, *more):
    return [
        *("train", footage / "pairs.jsonl", "--videos", footage, "--out", footage / "new"),
        *("--from", footage / "source", "--steps", 2, "--batch", 4, *more),
    ]


@pytest.fixture
def reelseek(monkeypatch, capsys, tmp_path):
    """Run the command in this process: its exit code, standard output and standard error."""
    monkeypatch.setenv("REELSEEK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REELSEEK_DEVICE", "cpu")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["reelseek", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def test_training_tells_its_steps_and_what_it_left_out(reelseek, footage):
    code, printed, told = reelseek(*words_of(footage, "--json"))
    assert code == 0, told
    found = json.loads(printed)
    assert (found["pairs"], found["steps"], found["new_words"]) == (4, 2, 2)
    assert [one["line"] for one in found["left_out"]] == [5]
    assert "line 5" in told
    assert "step 1/2" in told
    assert load_bundle(footage / "new").spec.has_retriever


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--resume",), "holds no run that could be resumed"),
        (("--from", "nowhere"), "There is no model 'nowhere'"),
        (("--batch", "99"), "do not make batches of 99"),
        (("--epochs", "2"), "steps and epochs both say how long to train"),
        (("--freeze", "words"), "no weight's name begins with 'words'"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(reelseek, footage, more, complaint):
    code, printed, told = reelseek(*words_of(footage, *more))
    assert code == 1
    assert not printed
    assert complaint in " ".join(told.split())


def test_a_bad_line_is_one_sentence(reelseek, footage):
    (footage / "pairs.jsonl").write_text('{"file": "0.mp4"}\n')
    code, _, told = reelseek(*words_of(footage))
    assert code == 1
    assert "line 1" in told


@pytest.mark.slow
@pytest.mark.timeout(WITHIN_S + 60)
def test_two_processes_write_one_bundle_and_print_once(footage):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "service.cli", *map(str, words_of(footage, "--json", "--recipe", "clover"))),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "REELSEEK_DEVICE": "cpu",
        "REELSEEK_DATA_DIR": str(footage / "data"),
    }
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, timeout=WITHIN_S, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["steps"] == 2
    assert load_bundle(footage / "new").spec.has_matcher
