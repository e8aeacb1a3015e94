"""Models of the hub: what is fetched, and what a user is told when nothing can be."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from model.bundle import load_bundle
from tests.fake_hub import COMMIT, FakeHub

ADD = """
import json, sys
from pathlib import Path
from model.image_text.adding import add_model
from model.importing.errors import ImportRefusedError
answers = []
for number, (source, options) in enumerate(json.load(sys.stdin)):
    try:
        answers.append(add_model(source, Path(sys.argv[1]) / f"bundle{number}", **options))
    except ImportRefusedError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def add(folder, *asked, **environment):
    """Add models in a process of its own, as the hub's library reads its settings only once."""
    done = subprocess.run(
        [sys.executable, "-c", ADD, str(folder)],
        input=json.dumps(asked),
        env={**os.environ, "HF_HOME": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory, saved):
    folder = tmp_path_factory.mktemp("hub")
    clip = shutil.copytree(saved["clip"], folder / "clip")
    for name in ("flax_model.msgpack", "pytorch_model.bin", "modeling.py"):
        (clip / name).write_bytes(b"x" * 1000)
    for name, files in {"empty": [], "code": ["config.json", "model.py"]}.items():
        (folder / name).mkdir()
        for file in files:
            (folder / name / file).write_text("{}")
    return folder


def test_a_model_of_the_hub_becomes_a_bundle(repositories, tmp_path):
    with FakeHub(repositories) as hub:
        [card, again] = add(
            tmp_path,
            ("owner/clip", {}),
            ("owner/clip", {"revision": "main"}),
            HF_ENDPOINT=hub.url,
        )
        fetched = {line.split("/")[-1] for line in hub.asked if "/resolve/" in line}

    assert (card["name"], card["revision"]) == ("owner/clip", COMMIT)
    assert load_bundle(tmp_path / "bundle0").spec.frame_size == 32
    assert again["digest"] == card["digest"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not {"flax_model.msgpack", "pytorch_model.bin", "modeling.py"} & fetched

    (tmp_path / "offline").mkdir()
    [offline, missing] = add(
        tmp_path / "offline",
        ("owner/clip", {}),
        ("owner/other", {}),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path / "cache"),
    )
    assert offline["digest"] == card["digest"]
    assert "HF_HUB_OFFLINE" in missing


def test_what_the_hub_refuses_is_said_in_a_sentence(repositories, tmp_path):
    with FakeHub(repositories) as hub:
        unknown, gated, revision, empty, code, name = add(
            tmp_path,
            ("owner/nothing", {}),
            ("owner/gated", {}),
            ("owner/clip", {"revision": "v9"}),
            ("owner/empty", {}),
            ("owner/code", {}),
            ("owner/a--b..c", {}),
            HF_ENDPOINT=hub.url,
        )

    assert "no model 'owner/nothing'" in unknown
    assert "hf auth login" in gated
    assert "no revision 'v9'" in revision
    assert "has no config.json" in empty
    assert "holds no weights" in code
    assert "owner/a--b..c" in name


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence(tmp_path):
    [unreachable] = add(
        tmp_path, ("openai/clip-vit-base-patch32", {}), HF_ENDPOINT="http://127.0.0.1:9"
    )
    [offline] = add(tmp_path, ("openai/clip-vit-base-patch32", {}), HF_HUB_OFFLINE="1")

    for message in (unreachable, offline):
        assert message.endswith(".")
        assert "openai/clip-vit-base-patch32" in message
        assert "give the folder instead" in message
    assert "cannot be reached" in unreachable
    assert "HF_HUB_OFFLINE" in offline
    assert not list(tmp_path.glob("bundle*"))
