"""`reelseek models`, as a person uses it: bring a model in, use it, search with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_checkpoints import make_state, save_lightning
from tests.factories_model import make_tokenizer
from tests.factories_video import make_video

ANSWER_S = 200.0
SWITCH_S = 60.0


class Command:
    """Runs `reelseek` on one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def __call__(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")}
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *map(str, arguments)],
            env={
                **clean,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "REELSEEK_DATA_DIR": str(self.data_dir),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )

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
def reelseek(tmp_path) -> Command:
    return Command(tmp_path / "data")


@pytest.fixture
def words(tmp_path) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(make_tokenizer().to_str())
    return path


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return what it printed as its failure: one sentence, no traceback."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("reelseek: ")
    return line


def test_a_file_with_code_is_refused_by_the_command_and_never_run(reelseek, words, tmp_path):
    trap = tmp_path / "was-run"
    torch.save({"state_dict": make_state(), "more": Runs(f"touch {trap}")}, tmp_path / "bad.ckpt")

    done = reelseek("models", "import", tmp_path / "bad.ckpt", "--tokenizer", words)

    assert "could run code" in sentence(done)
    assert not trap.exists()
    assert reelseek.folders == []


class Runs:
    """Pickles as a call of `os.system`."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


@pytest.fixture
def live(reelseek):
    """A service that nobody told which bundle to use."""
    service = LiveService(reelseek.data_dir)
    service.wait_until_ready()
    yield service
    service.stop()
    assert "Traceback" not in service.output


def search(client) -> list[dict]:
    """Return what is found, once something is: replicas follow what is committed."""

    def look() -> list[dict] | None:
        answer = client.post("/v1/search", json={"text": "a red circle"})
        return answer.json()["moments"] if answer.is_success else None

    return wait_for(look, within_s=SWITCH_S, what="a search that finds something")


@pytest.mark.slow
@pytest.mark.alone
def test_a_running_service_takes_a_used_model_over_and_starts_with_it_again(
    reelseek, words, tmp_path, live
):
    file = save_lightning(tmp_path / "tuned.ckpt", make_state())
    with live.client() as client:
        video = upload(client, make_video(tmp_path / "clip.mp4", seed=1))
        wait_until_processed(client, video["id"])
        assert search(client)[0]["video_id"] == video["id"]

        added = reelseek("models", "import", file, "--tokenizer", words)
        assert "models use tuned" in added.stdout
        used = reelseek("models", "use", "tuned")
        assert used.returncode == 0, used.stderr
        assert "tuned is what is searched now" in used.stdout

        assert search(client)[0]["video_id"] == video["id"]
        assert reelseek.models()["tuned"]["is_active"]
        back = reelseek("models", "rollback")
        assert "bundled is what is searched now" in back.stdout, back.stderr
        assert reelseek("models", "use", "tuned").returncode == 0

    assert live.stop() == 0
    again = LiveService(reelseek.data_dir)
    try:
        again.wait_until_ready()
        with again.client() as client:
            assert search(client)[0]["video_id"] == video["id"]
    finally:
        again.stop()
    assert "Traceback" not in again.output
