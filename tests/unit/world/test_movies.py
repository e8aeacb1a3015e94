"""Stories as video files."""

import json

import av
import numpy as np

from model.world.movies import demo_stories, demo_videos, write_movie
from model.world.render import render


def test_a_movie_shows_the_story_at_its_times(tmp_path):
    story = demo_stories(3, seed=1)[0]
    path = tmp_path / "story.mp4"
    write_movie(story, path, size=64, duration_s=1.0, frame_rate=8)
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 8
    expected = render(story, [(i + 0.5) / 8 for i in range(8)], 64).astype(int)
    assert np.abs(np.stack(frames) - expected).mean() < 12  # H.264 is lossy


def test_demo_stories_show_no_kind_in_the_same_colour_twice():
    stories = demo_stories(60, seed=1)
    assert len({(s.thing.kind, s.thing.colour) for s in stories}) == 60
    assert stories == demo_stories(60, seed=1)


def test_the_demo_says_what_happens_in_each_video(tmp_path):
    paths = demo_videos(tmp_path / "demo", count=2, seed=1)
    captions = json.loads((tmp_path / "demo" / "captions.json").read_text())
    assert list(captions) == [path.name for path in paths]
    assert all(len(texts) == 3 and all(texts) for texts in captions.values())
