"""`reelseek evaluate`: the real command on made-up videos and on small datasets of real files."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.bundle import load_bundle, save_bundle
from model.datasets.clips import decoded
from model.datasets.reading import open_dataset
from model.video.limits import DecodeLimits
from service.cli.app import main
from tests.factories_datasets import MAKERS, STEP, write_videos
from tests.factories_model import (
    TINY,
    TINY_PREPROCESSING,
    make_tiny_network,
    make_tokenizer,
)
from tests.factories_video import read_number

COMMAND_S = 120
ZOOM = TINY_PREPROCESSING.resize_short / TINY_PREPROCESSING.frame_size
STREAMS = ["dual_stream", "reranked", "reranked_at"]


@pytest.fixture
def evaluate(monkeypatch, capsys, bundle_dir, tmp_path):
    """Run the command in this process: its exit code, standard output and standard error."""
    monkeypatch.setenv("REELSEEK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REELSEEK_DEVICE", "cpu")

    def run(*words, bundle=bundle_dir):
        arguments = ["reelseek", "evaluate", "--bundle", str(bundle), *map(str, words)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture(params=list(MAKERS))
def made(request, tmp_path):
    """The name of a dataset, and one in one of its layouts with real videos."""
    name, make = MAKERS[request.param]
    made = make(tmp_path / "dataset")
    write_videos(made.videos, made.files)
    return name, made


@pytest.fixture
def msrvtt(tmp_path):
    """The options that name a small MSR-VTT, and what it consists of."""
    made = MAKERS["msrvtt"][1](tmp_path / "dataset")
    write_videos(made.videos, made.files)
    options = ("--dataset", "msrvtt", "--annotations", made.annotations, "--videos", made.videos)
    return options, made


def save(folder, network, dims):
    save_bundle(
        folder,
        network=network,
        dims=dims,
        preprocessing=TINY_PREPROCESSING,
        tokenizer_json=make_tokenizer().to_str(),
        card={},
    )
    return folder


def test_every_dataset_is_measured_by_one_command(evaluate, made):
    name, where = made

    code, out, err = evaluate(
        *("--dataset", name, "--annotations", where.annotations, "--videos", where.videos),
        *("--depth", "1", "--depth", "2", "--json"),
    )

    assert code == 0, err
    found = json.loads(out)
    num_texts = sum(len(texts) for texts in where.texts.values())
    assert found["gallery"] == {"texts": num_texts, "videos": 2}
    assert found["dataset"]["name"] == name
    assert found["dataset"]["missing"] == found["dataset"]["unreadable"] == []
    for direction in ("t2v", "v2t"):
        assert list(found[direction]) == STREAMS
        assert list(found[direction]["reranked_at"]) == ["1", "2"]
        assert found[direction]["dual_stream"]["R@5"] == 100


def test_a_clip_is_the_whole_video_at_bin_centres_beside_its_own_texts(made, bundle_dir):
    name, where = made
    dataset = open_dataset(name, annotations=where.annotations, videos=where.videos)
    spec = load_bundle(bundle_dir).spec

    with decoded(dataset, spec, frames_per_clip=4, limits=DecodeLimits()) as ready:
        clips = ready.gallery.clips[torch.tensor([1, 0])].numpy()
        texts, owners = list(ready.gallery.texts), ready.gallery.owners.tolist()

    numbers = [[read_number(frame, zoom=ZOOM) for frame in clip] for clip in clips]
    at_centres = [6, 18, 31, 43]  # 2 s at 25 a second: frames shown at 0.25, 0.75, 1.25, 1.75 s
    assert numbers == [[STEP + n for n in at_centres], at_centres]
    assert texts == [text for each in where.texts.values() for text in each]
    assert owners == [i for i, each in enumerate(where.texts.values()) for _ in each]


def test_the_command_starts_as_a_program(bundle_dir, tmp_path):
    command = [Path(sys.executable).with_name("reelseek"), "evaluate", "--bundle", bundle_dir]
    environment = {**os.environ, "REELSEEK_DATA_DIR": str(tmp_path), "REELSEEK_DEVICE": "cpu"}

    done = subprocess.run(
        [*command, "--world", "8"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "re-ranked (16)" in done.stdout
    assert "8 texts, 8 videos" in done.stdout
    assert "families of four, seed 1" in done.stderr


def test_the_table_has_every_stream_with_its_interval(evaluate):
    code, out, err = evaluate("--world", "12", "--depth", "2", "--full-fused")

    assert code == 0, err
    for label in ("dual stream", "re-ranked (2)", "re-ranked (all)", "full fused"):
        assert out.count(label) == (3 if label == "dual stream" else 2)
    assert "144 fused passes" in err
    assert out.splitlines()[0].split() == ["R@1", "R@5", "R@10", "MdR", "MnR", "nDCG@10"]
    assert "The right one of a video and its reversal" in out


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_recall_is_drawn_into_a_file(evaluate, tmp_path, suffix):
    path = tmp_path / f"recall{suffix}"

    code, _, err = evaluate("--world", "8", "--plot", path)

    assert code == 0, err
    if suffix == ".svg":
        drawn = path.read_text()
        assert all(words in drawn for words in ("text to video", "dual stream: R@1", "guessing"))
    else:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.shape[1] > 1000
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_a_bundle_without_a_matcher_has_the_dual_stream_and_says_so(evaluate, tmp_path):
    dims = replace(TINY, has_matching_head=False)
    folder = save(tmp_path / "bundle", make_tiny_network(dims=dims), dims)

    code, out, err = evaluate("--world", "8", "--full-fused", "--json", bundle=folder)

    assert code == 0, err
    found = json.loads(out)
    assert list(found["t2v"]) == ["dual_stream"]
    assert set(found["temporal_order"]) == {"dual_stream", "num_texts"}
    assert found["model"]["digest"]
    assert found["world"]["seed"] >= 0
    assert "nothing to re-rank with" in found["notes"][0]


def test_a_bundle_without_a_joint_space_is_matched_in_full_and_says_what_that_costs(
    evaluate, tmp_path
):
    dims = replace(TINY, has_projections=False)
    folder = save(tmp_path / "bundle", make_tiny_network(dims=dims), dims)

    code, out, err = evaluate("--world", "8", "--json", bundle=folder)

    assert code == 0, err
    found = json.loads(out)
    assert list(found["t2v"]) == ["full_fused"]
    assert set(found["temporal_order"]) == {"fused", "num_texts"}
    assert "no joint space" in found["notes"][0]
    assert "64 fused passes" in err


def test_missing_videos_are_left_out_on_request_and_reported(evaluate, msrvtt):
    options, made = msrvtt
    (made.videos / made.files[0]).unlink()

    refused, _, why = evaluate(*options)
    code, out, err = evaluate(*options, "--skip-missing")

    assert refused == 1
    assert "Of 2 videos, 1 (video9770) are not below" in why
    assert "--skip-missing" in why
    assert code == 0, err
    assert "Left out because not there: 1 (video9770)" in out


def test_videos_that_cannot_be_decoded_are_named_and_left_out_on_request(evaluate, msrvtt):
    options, made = msrvtt
    (made.videos / made.files[1]).write_bytes(b"no video at all")

    refused, _, why = evaluate(*options)
    code, out, err = evaluate(*options, "--skip-missing", "--json")

    assert refused == 1
    assert "1 (video7020) cannot be decoded" in why
    assert code == 0, err
    found = json.loads(out)
    assert found["dataset"]["unreadable"] == ["video7020"]
    assert found["gallery"] == {"texts": 1, "videos": 1}


def test_damaged_videos_are_used_and_named(evaluate, msrvtt):
    options, made = msrvtt
    path = made.videos / made.files[1]  # Matroska can be read up to where it was cut
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    code, out, err = evaluate(*options)

    assert code == 0, err
    assert "used as far as they go: 1 (video7020)" in out


def test_a_limit_is_said_to_make_the_figures_others(evaluate, msrvtt):
    code, out, err = evaluate(*msrvtt[0], "--limit", "1")

    assert code == 0, err
    assert "Not the whole split, only 1 of its videos" in out


def test_texts_that_a_model_cannot_read_whole_are_counted(evaluate, msrvtt):
    options, made = msrvtt
    path = made.annotations / "a" / "MSRVTT_JSFUSION_test.csv"
    text = path.read_text().replace("a person, connecting something", "a cat")
    path.write_text(text.replace("a dog runs", "a dog runs " * 20))

    code, out, err = evaluate(*options)

    assert code == 0, err
    assert f"1 text fills all {TINY.max_text_tokens} tokens" in out


def test_fewer_frames_can_be_asked_for_but_not_more_than_a_model_reads(evaluate, msrvtt):
    code, out, err = evaluate(*msrvtt[0], "--frames", "2", "--json")
    refused, _, why = evaluate(*msrvtt[0], "--frames", "9")

    assert code == 0, err
    assert json.loads(out)["dataset"]["frames"] == 2
    assert refused == 1
    assert "reads 3 frames of a video and cannot read 9" in why


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--dataset", "msrvtt"], 2, "needs --annotations and --videos"),
        (["--frames", "3"], 2, "name one by --dataset"),
        (["--dataset", "imagenet"], 2, "imagenet"),
        (["--plot", "recall.jpg"], 2, "neither with .svg nor with .png"),
        (["--plot", "nowhere/recall.svg"], 2, "does not exist"),
        (["--depth", "0"], 2, "--depth"),
        (["--world", "4", "--bundle", "nowhere"], 1, "nowhere is no folder and no name of a model"),
        (["--world", "4", "--bundle", "."], 1, ". cannot be used as a bundle"),
    ],
)
def test_what_cannot_be_done_is_said(evaluate, words, code, why):
    ended, out, err = evaluate(*words)

    assert ended == code
    assert out == ""
    assert why in " ".join(err.replace("│", " ").split())


def test_a_network_that_gives_nan_is_no_perfect_one(evaluate, tmp_path):
    network = make_tiny_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e30)
    folder = save(tmp_path / "bundle", network, TINY)

    code, out, err = evaluate("--world", "4", bundle=folder)

    assert code == 1
    assert out == ""
    assert "not finite" in err
