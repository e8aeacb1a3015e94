"""Render a story at any times and any size. Shapes: T times, S frame side, pixels RGB."""

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.world.shapes import OUTLINES
from model.world.stage import Figure, figures
from model.world.story import Background, Colour, Kind, Story, Texture

Floats: TypeAlias = NDArray[np.float32]

PAINTS: dict[Colour, tuple[int, int, int]] = {
    Colour.RED: (215, 25, 30),
    Colour.ORANGE: (245, 130, 15),
    Colour.YELLOW: (250, 225, 30),
    Colour.GREEN: (25, 150, 45),
    Colour.TURQUOISE: (40, 215, 205),
    Colour.BLUE: (30, 65, 215),
    Colour.PURPLE: (125, 35, 165),
    Colour.PINK: (250, 120, 190),
}
SHADES: dict[Background, tuple[int, int, int]] = {  # the middle of patterned ones
    Background.WHITE: (240, 240, 240),
    Background.GREY: (130, 130, 130),
    Background.BLACK: (16, 16, 16),
    Background.BROWN: (110, 75, 45),
    Background.GRADIENT: (125, 130, 140),
    Background.CHECKER: (150, 150, 150),
    Background.NOISE: (120, 120, 120),
    Background.STRIPES: (140, 150, 160),
}
CONTRAST = {Background.GRADIENT: 95.0, Background.CHECKER: 55.0, Background.NOISE: 85.0}
SHADE_JITTER = 8  # levels that a colour varies by from story to story
GRAINS = 24  # of the noisy background, across the frame
NOISE_BANK = 1 << 20


def bin_centres(count: int) -> list[float]:
    """Return the times at which training samples a story: the centres of equal bins."""
    return [(i + 0.5) / count for i in range(count)]


def render(story: Story, times: Sequence[float], size: int) -> NDArray[np.uint8]:
    """Return the frames of a story, uint8 (T, S, S, 3).

    Args:
        story: what happens.
        times: 0 at the start of the video, 1 at its end.
        size: frame side S, pixels.
    """
    forward = [1 - time if story.is_backward else time for time in times]
    drift = np.array([[d * (t - 0.5) for d in story.look.drift] for t in forward], np.float32)
    rng = np.random.default_rng(story.look.seed)
    jitter = rng.integers(-SHADE_JITTER, SHADE_JITTER + 1, (2, 3)).astype(np.float32)
    canvas = _background(story.background, drift, size, rng) + jitter[0]  # (T, S, S, 3)
    for frame, time, shift in zip(canvas, times, drift, strict=True):
        for figure in figures(story, time):
            _paint(frame, figure, story, shift, jitter[1])
    return _with_noise(canvas, story, forward)


def _background(kind: Background, drift: Floats, size: int, rng: np.random.Generator) -> Floats:
    """Return float32 (T, S, S, 3)."""
    phase = rng.uniform(0, 1, 3).astype(np.float32)
    pixels = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = pixels - drift[:, :1], pixels - drift[:, 1:]  # 2 x (T, S), scene coordinates
    pattern = _pattern(kind, x, y, phase)  # (T, S, S) in [-1, 1], or fewer where it repeats
    shade = np.array(SHADES[kind], np.float32)
    canvas = shade + np.float32(CONTRAST.get(kind, 50.0)) * pattern[..., None]
    return np.array(np.broadcast_to(canvas, (len(drift), size, size, 3)), np.float32)


def _pattern(kind: Background, x: Floats, y: Floats, phase: Floats) -> Floats:
    across, down = x[:, None, :], y[:, :, None]  # (T, 1, S), (T, S, 1)
    match kind:
        case Background.GRADIENT:
            ramp: Floats = (2 * across - 1) if phase[0] < phase[1] else (2 * down - 1)
            return ramp if phase[2] < phase[1] else -ramp
        case Background.CHECKER:
            return _wave(4 * across + phase[0]) * _wave(4 * down + phase[1])
        case Background.STRIPES:
            return _wave(5 * (across if phase[0] < phase[1] else down) + phase[2])
        case Background.NOISE:
            grains = _grains(int(phase[0] * 64))
            columns = (x * GRAINS).astype(np.int64) % GRAINS
            rows = (y * GRAINS).astype(np.int64) % GRAINS
            return grains[rows[:, :, None], columns[:, None, :]]
        case _:
            return np.zeros((1, 1, 1), np.float32)


def _wave(turns: Floats) -> Floats:
    """Return a square wave with soft edges, so that no size of frame shows stairs."""
    wave: Floats = np.clip(5 * np.sin(2 * np.float32(np.pi) * turns), -1, 1)
    return wave


@cache
def _grains(number: int) -> Floats:
    return np.random.default_rng(number).uniform(-1, 1, (GRAINS, GRAINS)).astype(np.float32)


def _paint(frame: Floats, figure: Figure, story: Story, shift: Floats, jitter: Floats) -> None:
    """Paint one figure onto a frame (S, S, 3), in place."""
    if figure.opacity <= 0:
        return
    size = len(frame)
    x, y, radius = figure.x + shift[0], figure.y + shift[1], figure.radius
    left, right = _window(x, radius, size)
    top, bottom = _window(y, radius, size)
    u = ((np.arange(left, right, dtype=np.float32) + np.float32(0.5)) / size - x)[None] / radius
    v = ((np.arange(top, bottom, dtype=np.float32) + np.float32(0.5)) / size - y)[:, None] / radius
    is_changed = figure.changed > 0.5  # noqa: PLR2004 - kinds change at once
    distance = OUTLINES[_kind(figure, story, is_changed=is_changed)](u, v) * radius * size  # pixels
    cover = np.clip(0.5 - distance, 0, 1)[..., None] * np.float32(figure.opacity)
    paint = _paint_of(figure, story) + jitter
    patch = frame[top:bottom, left:right]
    patch += cover * (_surface(figure.thing.texture, paint, u, v) - patch)


def _window(centre: float, radius: float, size: int) -> tuple[int, int]:
    reach = radius * 1.1 + 1 / size
    first = int((centre - reach) * size)
    return min(max(first, 0), size), min(max(int((centre + reach) * size) + 1, 0), size)


def _kind(figure: Figure, story: Story, *, is_changed: bool) -> Kind:
    return story.later.kind if is_changed else figure.thing.kind


def _paint_of(figure: Figure, story: Story) -> Floats:
    paint = np.array(PAINTS[figure.thing.colour], np.float32)
    if figure.changed <= 0:
        return paint
    later = np.array(PAINTS[story.later.colour], np.float32)
    return paint + np.float32(figure.changed) * (later - paint)


def _surface(texture: Texture, paint: Floats, u: Floats, v: Floats) -> Floats:
    """Return the colours of a surface, (H, W, 3), or (3,) for a plain one."""
    match texture:
        case Texture.STRIPED:
            pattern = _wave(1.35 * (u + v))
        case Texture.DOTTED:
            pattern = np.clip(4 * np.cos(7 * u) * np.cos(7 * v) - 1, -1, 1)
        case Texture.PLAIN:
            return paint
    light = np.float32(0.4) * (pattern[..., None] + 1)  # 0 to 0.8
    surface: Floats = paint + light * (255 - paint)
    return surface


@cache
def _noise_bank() -> NDArray[np.int16]:
    normal = np.random.default_rng(0).standard_normal(NOISE_BANK)
    return np.asarray(np.rint(normal * 256), np.int16)


def _with_noise(canvas: Floats, story: Story, forward: Sequence[float]) -> NDArray[np.uint8]:
    """Add the pixel noise; it belongs to a moment of the scene, so a reversed story repeats it."""
    bank, length = _noise_bank(), canvas[0].size
    for index, time in enumerate(forward):
        start = hash((story.look.seed, round(time * 10_000))) % (NOISE_BANK - 4096)
        noise = bank[start : start + length]
        if len(noise) < length:
            noise = np.resize(bank[start:], length)  # large frames repeat themselves
        canvas[index] += noise.reshape(canvas[index].shape) * np.float32(story.look.noise / 256)
    levels: NDArray[np.uint8] = np.clip(canvas + np.float32(0.5), 0, 255).astype(np.uint8)
    return levels
