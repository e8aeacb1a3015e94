"""Our embeddings are those of the model's own processor, tokenizer and towers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from model.bundle import load_bundle
from model.image_text.adding import add_model
from model.retrieval import MatcherMissingError, RetrievalModel, clips_to_tensor
from model.video.transforms import to_square
from tests.factories_image_text import (
    LONGEST,
    SENTENCES,
    save_clip,
    save_old_clip,
    save_siglip,
    save_siglip2,
)

KINDS = {
    "clip": save_clip,
    "clip of 2022": save_old_clip,
    "metaclip 2": lambda folder: save_clip(folder, meta=True),
    "siglip": save_siglip,
    "siglip 2": lambda folder: save_siglip2(folder, naflex=False),
    "siglip 2 naflex": save_siglip2,
}
TEXTS = (
    *SENTENCES,
    "",
    "CAT!",
    "  Two\tDOGS  play -- in  the SNOW?! ",
    "a very long text about a dog " * 20,
)
FRAME_SIZES = ((96, 54), (54, 97), (64, 64), (200, 33))  # (W, H)
CLOSE = {"rtol": 0, "atol": 1e-5}


class Added(NamedTuple):
    kind: str
    folder: Path
    bundle: Path
    ours: RetrievalModel


@pytest.fixture(scope="module", params=KINDS)
def added(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    KINDS[request.param](folder / "hub")
    add_model(str(folder / "hub"), folder / "bundle", frames=3)
    ours = load_bundle(folder / "bundle", precision="float32")
    return Added(request.param, folder / "hub", folder / "bundle", ours)


def frames_of(size, seed=0):
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (3, height, width, 3), np.uint8)


def cut(frames, spec):
    how = {"resize_short": spec.resize_short, "fit": spec.fit, "resample": spec.resample}
    return np.stack([to_square(frame, frame_size=spec.frame_size, **how) for frame in frames])


def clips_for(spec, num_clips=3):
    return clips_to_tensor([cut(frames_of((64, 64), seed), spec) for seed in range(num_clips)])


@pytest.mark.parametrize("size", FRAME_SIZES)
def test_a_clip_is_the_mean_of_what_the_model_says_of_its_frames(added, size):
    frames = frames_of(size)
    clip = cut(frames, added.ours.spec)
    asked = list(clip if added.kind == "siglip 2 naflex" else frames)  # it is given squares
    processor = AutoImageProcessor.from_pretrained(added.folder, backend="pil")
    network = AutoModel.from_pretrained(added.folder).eval()
    with torch.inference_mode():
        images = network.get_image_features(**processor(images=asked, return_tensors="pt"))
    wanted = functional.normalize(images.pooler_output, dim=-1).mean(dim=0)

    found = added.ours.embed_video(clips_to_tensor([clip]))[0]

    torch.testing.assert_close(found, functional.normalize(wanted, dim=0), **CLOSE)


def test_a_text_is_what_the_model_says_of_it(added):
    tokenizer = AutoTokenizer.from_pretrained(added.folder)
    network = AutoModel.from_pretrained(added.folder).eval()
    is_clip = "clip" in added.kind
    is_lowered = added.kind.startswith("siglip 2")  # SigLIP 2 was trained with small letters
    given = tokenizer(
        [text.lower() if is_lowered else text for text in TEXTS],
        padding=True if is_clip else "max_length",
        truncation=True,
        max_length=LONGEST,
        return_attention_mask=is_clip,
        return_tensors="pt",
    )
    with torch.inference_mode():
        wanted = network.get_text_features(**given).pooler_output

    tokens = added.ours.tokenize(TEXTS)

    assert tokens.ids.tolist() == given["input_ids"].tolist()
    found = added.ours.embed_text(tokens)
    torch.testing.assert_close(found, functional.normalize(wanted, dim=-1), **CLOSE)


def test_neither_padding_nor_company_changes_an_embedding(added):
    texts = added.ours.embed_text(added.ours.tokenize(TEXTS))
    alone = [added.ours.embed_text(added.ours.tokenize([text]))[0] for text in TEXTS]
    torch.testing.assert_close(texts, torch.stack(alone), **CLOSE)

    clips = clips_for(added.ours.spec)
    videos = added.ours.embed_video(clips)
    alone = [added.ours.embed_video(clip[None])[0] for clip in clips]
    torch.testing.assert_close(videos, torch.stack(alone), **CLOSE)


def test_many_frames_are_embedded_in_several_passes(added, monkeypatch):
    clips = clips_for(added.ours.spec)
    wanted = added.ours.embed_video(clips)
    monkeypatch.setattr("model.image_text.retriever.IMAGES_PER_PASS", 2)

    torch.testing.assert_close(added.ours.embed_video(clips), wanted, **CLOSE)


def test_bfloat16_stays_close(added):
    half = load_bundle(added.bundle, precision="bfloat16")
    clips, tokens = clips_for(half.spec), half.tokenize(SENTENCES)

    for found, wanted in (
        (half.embed_video(clips), added.ours.embed_video(clips)),
        (half.embed_text(tokens), added.ours.embed_text(tokens)),
    ):
        assert found.dtype == torch.float32
        assert (found * wanted).sum(dim=-1).min() > 0.99


def test_threads_do_not_disturb_each_other(added):
    spec, tokens = added.ours.spec, added.ours.tokenize(TEXTS)
    clips = clips_for(spec)
    texts, videos = added.ours.embed_text(tokens), added.ours.embed_video(clips)

    with ThreadPoolExecutor(4) as threads:
        found_texts = [threads.submit(added.ours.embed_text, tokens) for _ in range(8)]
        found_videos = [threads.submit(added.ours.embed_video, clips) for _ in range(8)]

    for found in found_texts:
        torch.testing.assert_close(found.result(), texts, **CLOSE)
    for found in found_videos:
        torch.testing.assert_close(found.result(), videos, **CLOSE)


def test_two_towers_cannot_match(added):
    clips, tokens = clips_for(added.ours.spec, 1), added.ours.tokenize(["a dog"])

    assert not added.ours.spec.has_matcher
    with pytest.raises(MatcherMissingError):
        added.ours.match(tokens, clips)


def test_clips_of_another_size_are_refused(added):
    with pytest.raises(ValueError, match="not uint8 of 32px"):
        added.ours.embed_video(torch.zeros(1, 3, 40, 40, 3, dtype=torch.uint8))
