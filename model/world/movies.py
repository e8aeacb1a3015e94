"""Write stories as ordinary video files, for the demo and for tests of the whole service."""

import json
import random
from dataclasses import replace
from pathlib import Path

import av

from model.world.captions import caption
from model.world.drawing import draw_story
from model.world.render import render
from model.world.story import Colour, Event, Facet, Kind, Story

FRAME_RATE = 24
DURATION_S = 4.0
FRAME_SIZE = 256
NUM_CAPTIONS = 3
DRIFT = (0.02, -0.01)
NOISE = 4.0


def write_movie(
    story: Story,
    path: Path,
    *,
    size: int = FRAME_SIZE,
    duration_s: float = DURATION_S,
    frame_rate: int = FRAME_RATE,
) -> None:
    """Render a story into an MP4 file (H.264).

    Args:
        story: what happens.
        path: the file to write.
        size: frame side, pixels, even.
        duration_s: how long the video is.
        frame_rate: frames per second.
    """
    num_frames = round(duration_s * frame_rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        for index in range(num_frames):
            pixels = render(story, [(index + 0.5) / num_frames], size)[0]
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def demo_stories(count: int, seed: int) -> list[Story]:
    """Return stories of which no two show the same kind of thing in the same colour.

    Args:
        count: how many, at most the number of such pairs.
        seed: equal seeds give equal stories.

    Raises:
        ValueError: `count` is more than the pairs of kinds and colours.
    """
    pairs = [(kind, colour) for kind in Kind for colour in Colour]
    if count > len(pairs):
        raise ValueError(f"there are {len(pairs)} kinds in colours, not {count}")
    rng = random.Random(f"demo/{seed}")  # noqa: S311 - reproducible worlds, no secrets
    rng.shuffle(pairs)
    return [
        _demo_story(rng, kind, colour, tuple(Event)[index % len(Event)])
        for index, (kind, colour) in enumerate(pairs[:count])
    ]


def demo_videos(folder: Path, *, count: int = 60, seed: int = 1) -> list[Path]:
    """Write visibly different videos and `captions.json`, which says what happens in each.

    Args:
        folder: where the files go; made if missing.
        count: how many videos.
        seed: equal seeds give equal videos.

    Returns:
        the video files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)  # noqa: S311 - reproducible worlds, no secrets
    captions: dict[str, list[str]] = {}
    paths = []
    for number, story in enumerate(demo_stories(count, seed), start=1):
        path = folder / f"{number:02d}-{_slug(story)}.mp4"
        write_movie(story, path)
        told = {Facet.EVENT, Facet.KIND, Facet.COLOUR}
        captions[path.name] = [
            caption(story, rng, split="test", required=told, detail=detail).text
            for detail in (1.0, 0.5, 0.0)
        ]
        paths.append(path)
    text = json.dumps(captions, indent=2, ensure_ascii=False)
    (folder / "captions.json").write_text(text + "\n", encoding="utf-8")
    return paths


def _demo_story(rng: random.Random, kind: Kind, colour: Colour, event: Event) -> Story:
    while True:
        story = draw_story(rng, events=(event,))
        if (story.thing.kind, story.thing.colour) == (kind, colour):
            return replace(story, look=replace(story.look, noise=NOISE, drift=DRIFT))


def _slug(story: Story) -> str:
    direction = "-backward" if story.is_backward and story.is_reversible else ""
    return f"{story.thing.colour}-{story.thing.kind}-{story.event}{direction}"
