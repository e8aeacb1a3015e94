"""What cannot be taken over is refused with a sentence, and leaves nothing behind."""

import json

import pytest
import torch

from model.bundle import load_bundle
from model.bundle_files import CONFIG, SEALED, combine, digest_file
from model.image_text.adding import add_model
from model.importing.errors import ImportRefusedError
from tests.factories_image_text import edit_json

WEIGHTS = "model.safetensors"
IMAGES = "preprocessor_config.json"


def change_tower(folder, tower, **values):
    path = folder / CONFIG
    config = json.loads(path.read_text())
    config[tower] |= values
    path.write_text(json.dumps(config))


def test_the_card_says_where_a_model_came_from(copy, tmp_path):
    folder = copy()
    (folder / "README.md").write_text("---\ntags:\n- vision\nlicense: apache-2.0\n---\n# A model\n")

    card = add_model(str(folder), tmp_path / "bundle", frames=2)

    assert card["name"] == "clip"
    assert card["source"] == str(folder)
    assert (card["revision"], card["licence"]) == (None, "apache-2.0")
    assert card["frames_per_clip"] == load_bundle(tmp_path / "bundle").spec.frames_per_clip == 2
    assert card["digest"] == combine(
        {name: digest_file(tmp_path / "bundle" / name) for name in SEALED}
    )


def test_what_is_there_is_never_overwritten(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    add_model(str(saved["clip"]), tmp_path / "empty")

    with pytest.raises(ImportRefusedError, match="exists already"):
        add_model(str(saved["clip"]), tmp_path / "empty")


@pytest.mark.parametrize("frames", [0, -1, 65])
def test_a_clip_has_a_sensible_number_of_frames(saved, refused, frames):
    assert "must be 1 to 64" in refused(saved["clip"], frames=frames)


def test_a_folder_without_a_model(tmp_path, refused):
    assert "neither a folder nor a name" in refused(tmp_path / "nothing")
    assert "no CLIP or SigLIP model" in refused(tmp_path)
    assert "only the hub has revisions" in refused(tmp_path, revision="main")


@pytest.mark.parametrize(
    "name", [CONFIG, IMAGES, "tokenizer_config.json"], ids=["config", "images", "tokenizer"]
)
def test_code_of_its_own_is_never_run(copy, refused, tmp_path, name):
    folder = copy()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\nclass Evil: ...\n")
    auto = ("AutoConfig", "AutoModel", "AutoImageProcessor", "AutoTokenizer", "AutoProcessor")
    edit_json(folder / name, auto_map=dict.fromkeys(auto, "evil.Evil"), trust_remote_code=True)

    assert "auto_map" in refused(folder)
    assert not (tmp_path / "canary").exists()


def test_a_pickle_with_code_is_refused_and_not_run(copy, refused, tmp_path):
    folder = copy()
    (folder / WEIGHTS).unlink()
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    torch.save({"logit_scale": Evil()}, folder / "pytorch_model.bin")

    refused(folder)

    assert not canary.exists()


@pytest.mark.parametrize(
    "changes",
    [{"model_type": "bert"}, {"model_type": None}, {"model_type": ["clip"]}, {"model_type": "x/y"}],
    ids=str,
)
def test_another_kind_of_model(copy, refused, changes):
    folder = copy()
    edit_json(folder / CONFIG, **changes)

    assert "clip, metaclip_2, siglip, siglip2" in refused(folder)


@pytest.mark.parametrize(
    ("tower", "values", "wrong"),
    [
        ("vision_config", {"image_size": [32, 64]}, "not square"),
        ("vision_config", {"image_size": 100_000}, "image_size|patches"),
        ("vision_config", {"num_channels": 4}, "4 colour channels"),
        ("vision_config", {"hidden_size": 10**9}, "hidden_size"),
        ("vision_config", {"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ("vision_config", {"hidden_act": "os.system"}, "hidden_act"),
        ("text_config", {"vocab_size": 10**12}, "vocab_size"),
        ("text_config", {"max_position_embeddings": 10**8}, "max_position_embeddings"),
        ("text_config", {"num_attention_heads": 0}, "."),
        ("text_config", {"num_hidden_layers": -1}, "num_hidden_layers"),
        ("text_config", {"layer_norm_eps": "nan"}, "."),
        ("text_config", {"hidden_size": 8192, "intermediate_size": 32768}, "files are missing"),
    ],
    ids=str,
)
def test_sizes_that_no_network_should_have(copy, refused, tower, values, wrong):
    folder = copy()
    change_tower(folder, tower, **values)

    message = refused(folder)

    assert any(part in message for part in wrong.split("|"))


def test_a_configuration_cannot_choose_kernels(copy, tmp_path):
    folder = copy()
    kernels = {"_attn_implementation": "someone/kernels", "attn_implementation": "someone/kernels"}
    change_tower(folder, "text_config", **kernels)
    edit_json(folder / CONFIG, **kernels, quantization_config={"quant_method": "someone/else"})

    add_model(str(folder), tmp_path / "bundle")

    assert "someone" not in (tmp_path / "bundle" / CONFIG).read_text()


@pytest.mark.parametrize(
    ("kind", "changes", "wrong"),
    [
        ("clip", {"crop_size": {"height": 32, "width": 48}}, "not square"),
        ("clip", {"crop_size": {"height": 24, "width": 24}}, "of 24 px, its network reads 32 px"),
        ("clip", {"do_center_crop": False}, "does not make them square"),
        ("clip", {"do_resize": False}, "does not resize"),
        ("clip", {"resample": 1}, "filter"),
        ("clip", {"image_std": [0, 0, 0]}, "."),
        ("clip", {"image_mean": [0.5]}, "."),
        ("siglip", {"size": {"height": 32, "width": 64}}, "does not make them square"),
        ("siglip", {"size": {"height": 10**9, "width": 10**9}}, "its network reads 32 px"),
        ("naflex", {"patch_size": 16}, "its network reads 8 px"),
    ],
    ids=str,
)
def test_preprocessing_that_frames_cannot_follow(copy, refused, kind, changes, wrong):
    folder = copy(kind)
    edit_json(folder / IMAGES, **changes)

    assert wrong in refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
        {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
        {"do_center_crop": False, "size": {"height": 32, "width": 32}},
        {"size": {"shortest_edge": 40}, "resample": 2},
    ],
    ids=str,
)
def test_unusual_preprocessing_is_followed_to_the_last_digit(copy, tmp_path, changes):
    folder = copy()
    edit_json(folder / IMAGES, **changes)

    add_model(str(folder), tmp_path / "bundle")  # compares itself with the model's own


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (IMAGES, "has no preprocessor_config.json"),
        (WEIGHTS, "holds no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_something_is_missing(copy, refused, name, wrong):
    folder = copy()
    (folder / name).unlink()

    assert wrong in refused(folder)
