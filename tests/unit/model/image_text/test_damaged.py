"""Damaged files are refused: of published models, and of bundles."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bundle import BundleError, load_bundle
from model.bundle_files import CARD, CONFIG, SEALED, combine, digest_file, write_json
from model.image_text.adding import add_model

WEIGHTS = "model.safetensors"
IMAGES = "preprocessor_config.json"


@pytest.fixture(scope="module")
def bundle(saved, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    add_model(str(saved["clip"]), out)
    return out


@pytest.mark.parametrize("name", [CONFIG, IMAGES, "tokenizer.json", WEIGHTS])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"<html>Not found</html>"])
def test_a_file_is_damaged(copy, refused, name, content):
    folder = copy()
    (folder / name).write_bytes(content)

    refused(folder)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_weights_are_cut_off(copy, refused, share):
    folder = copy()
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(len(content) * share)])

    assert WEIGHTS in refused(folder)


def test_weights_are_of_another_network(copy, refused):
    folder = copy()
    state = load_file(folder / WEIGHTS)
    kept = {name: value for name, value in state.items() if "layers.1.mlp.fc1" not in name}
    padding = {"something.else": torch.zeros(100_000)}
    save_file(kept | padding, folder / WEIGHTS)
    assert "lacks 4 of its weights" in refused(folder)

    save_file(state | {"text_projection.weight": torch.zeros(5, 5)} | padding, folder / WEIGHTS)
    assert "other shapes of 1 of its weights, as text_projection" in refused(folder)


@pytest.mark.parametrize("name", ["logit_scale", "text_projection.weight"])
def test_weights_are_not_numbers(copy, refused, name):
    folder = copy()
    state = load_file(folder / WEIGHTS)
    save_file(state | {name: torch.full_like(state[name], torch.nan)}, folder / WEIGHTS)

    assert "finite" in refused(folder)


def test_weights_in_several_files_are_put_together(copy, saved, tmp_path):
    folder = copy()
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(state)
    for number, part in enumerate((names[:30], names[30:]), start=1):
        path = folder / f"model-0000{number}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, path)

    split = add_model(str(folder), tmp_path / "split")
    whole = add_model(str(saved["clip"]), tmp_path / "whole")

    assert split["files"][WEIGHTS] == whole["files"][WEIGHTS]


def test_a_vocabulary_that_is_larger_than_the_network(copy, refused):
    folder = copy()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zebra</w>"] = 10_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    assert "more words" in refused(folder)


@pytest.mark.parametrize(
    "content", [b"", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\x0a\x00", b"text" * 9, bytes(64)]
)
def test_a_damaged_piece_file(copy, refused, content):
    folder = copy("siglip")
    (folder / "spiece.model").write_bytes(content)

    assert "SentencePiece" in refused(folder)


HOSTILE = {
    "unknown kind": {"sizes": {"model_type": "gpt2"}},
    "too wide": {"sizes": {"embedding_dim": 10**7}},
    "no whole number": {"sizes": {"embedding_dim": True}},
    "not the weights' sizes": {"sizes": {"embedding_dim": 48}},
    "huge tower": {"text": {"vocab_size": 10**10}},
    "unknown entry": {"text": {"auto_map": "evil.py"}},
    "activation": {"vision": {"hidden_act": "__import__"}},
    "frames": {"preprocessing": {"frame_size": 16, "resize_short": 16}},
    "fit": {"preprocessing": {"fit": "stretch"}},
    "resample": {"preprocessing": {"resample": "lanczos"}},
    "length": {"texts": {"max_tokens": 17}},
    "empty": {"texts": {"max_tokens": 0}},
    "pad": {"texts": {"pad_token": "[PAD]"}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bundle_with_a_wrong_configuration_is_refused(bundle, tmp_path, case):
    folder = shutil.copytree(bundle, tmp_path / "changed")
    config = json.loads((folder / CONFIG).read_text())
    for part, values in HOSTILE[case].items():
        place = config["sizes"] if part in ("text", "vision") else config
        place[part] |= values
    write_json(folder / CONFIG, config)
    digests = {name: digest_file(folder / name) for name in SEALED}
    write_json(folder / CARD, {"digest": combine(digests), "files": digests})

    with pytest.raises(BundleError):
        load_bundle(folder)


def test_the_service_does_not_import_what_its_bundle_does_not_need():
    code = """
import sys
import service.main, workers.ingest, workers.embedder, service.cli.app
from model.bundle import load_bundle
from service.settings import Settings
loaded = load_bundle(Settings().bundle_path, precision="float32")
loaded.embed_text(loaded.tokenize(["a red circle"]))
heavy = {"transformers", "huggingface_hub", "sentencepiece", "matplotlib"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.strip() == "[]"
