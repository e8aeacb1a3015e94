"""Search with an image-text model: from `reelseek serve` to hits, with a matcher and without."""

import pytest

from model.image_text.adding import add_model
from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_image_text import save_clip, save_siglip
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video

SECONDS = 12.0  # three segments


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start a service with a bundle, with one video in it; gives a client and the video."""
    folder = tmp_path_factory.mktemp("image-text")
    path = make_video(folder / "holiday.mp4", seconds=SECONDS, size=(320, 180))
    running = []

    def start(bundle):
        data_dir = folder / f"data of {bundle.name}"
        service = LiveService(data_dir, {"REELSEEK_BUNDLE": str(bundle), "REELSEEK_DEVICE": "cpu"})
        running.append(service)
        service.wait_until_ready()
        client = service.client()
        running.append(client)
        video = wait_until_processed(client, upload(client, path)["id"])
        assert video["state"] == "ready", video
        return client, video

    yield start
    for one in reversed(running):
        one.stop() if isinstance(one, LiveService) else one.close()


def search(client, text="two dogs play in the snow", **options):
    """Search, once the video is in the index."""

    def look():
        response = client.post("/v1/search", json={"text": text, "deadline_ms": 60_000, **options})
        response.raise_for_status()
        return response.json() if response.json()["moments"] else None

    return wait_for(look, within_s=30, what="the first hit")


def test_clip_finds_and_a_matcher_re_ranks(start, tmp_path):
    save_clip(tmp_path / "hub")
    matcher = make_tiny_bundle(tmp_path / "matcher")
    add_model(str(tmp_path / "hub"), tmp_path / "composite", frames=4, matcher=matcher)

    client, video = start(tmp_path / "composite")
    answer = search(client)

    segments = sorted(ordinal for moment in answer["moments"] for ordinal in moment["segments"])
    assert segments == [0, 1, 2]
    assert not answer["degraded"]
    assert answer["receipt"]["reranked"] == 3
    for moment in answer["moments"]:
        assert moment["video_id"] == video["id"]
        assert 0 < moment["match_probability"] < 1
        assert -1 <= moment["similarity"] <= 1
        assert client.get(moment["thumbnail_url"]).is_success
    assert client.get("/v1/system").json()["model"]["name"] == "composite"


def test_without_a_matcher_the_similarity_decides(start, tmp_path):
    save_siglip(tmp_path / "hub")
    add_model(str(tmp_path / "hub"), tmp_path / "alone")

    client, _ = start(tmp_path / "alone")
    answer = search(client, rerank_depth=16)

    similarities = [moment["similarity"] for moment in answer["moments"]]
    assert similarities == sorted(similarities, reverse=True)
    assert all(moment["match_probability"] is None for moment in answer["moments"])
    assert answer["receipt"]["reranked"] == 0
    assert not answer["degraded"]
