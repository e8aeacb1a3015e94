"""The sizes of a Clover network, and those that were published."""

from dataclasses import dataclass
from typing import ClassVar

HEAD_DIM = 32
"""Width of one head of the video encoder in every published size."""

MLP_RATIO = 4
"""Hidden width of a block's MLP as a multiple of the block's width."""

AXES = 3
"""Time, height, width."""

MASK_GRID = 7
"""Cells along one side of a tube mask, as published,"""
PATCHES_PER_CELL = 4
"""or of so many patches each way where seven do not fit."""

MOST_STAGES = 6
"""Each stage doubles the width."""


@dataclass(frozen=True, kw_only=True)
class CloverDims:
    """Everything that decides the shapes and the arithmetic of a network.

    The video encoder is a Video Swin transformer (arXiv:2106.13230), the text encoder a BERT.

    Attributes:
        embed_width: width of the first stage of the video encoder; each stage doubles it.
        depths: blocks of each stage.
        heads: attention heads of each stage; width // 32 if not given.
        window: frames, rows and columns of patches that attend to each other.
        patch: side of a patch, pixels.
        tubelet: frames that one patch spans.
        frame_size: side S of the square frames, pixels.
        frames: longest clip T that can be fused with a text; longer ones can still be embedded.
        width: width C of the text encoder and of the fusion.
        text_depth: blocks of the text encoder.
        text_heads: attention heads of a block of the text encoder or the fusion.
        mlp_width: hidden width of these blocks; four times the width if not given.
        max_text_tokens: rows of the text position table: the longest text L.
        vocabulary: rows of the word table V.
        fusion_depth: blocks of the fusion.
        projection: width E of the joint space.
        projection_hidden: width inside the heads that stand for clips.
        mask_grid: cells G along one side of a tube mask; seven if they fit the patches, else
            cells of four by four patches, if not given.
        has_projections: the projections to the joint space exist.
        has_joint_heads: the heads on the fused pass of the tri-modal alignment exist.
        has_matching_head: the head of the matching objective exists (the published code has none).
        has_mlm_head: the head of the masked-language objective exists.
        cuts_bias_index: number the positions of a window that was clamped in space as the
            published code does, by cutting the index of the full window. It makes wrong
            neighbours; only frames below 224 px are affected.
    """

    family: ClassVar[str] = "clover"

    embed_width: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = ()
    window: tuple[int, int, int] = (8, 7, 7)
    patch: int = 4
    tubelet: int = 2
    frame_size: int = 224
    frames: int = 8
    width: int = 768
    text_depth: int = 12
    text_heads: int = 12
    mlp_width: int = 0
    max_text_tokens: int = 64
    vocabulary: int = 30522
    fusion_depth: int = 3
    projection: int = 768
    projection_hidden: int = 1536
    mask_grid: int = 0
    has_projections: bool = True
    has_joint_heads: bool = True
    has_matching_head: bool = True
    has_mlm_head: bool = True
    cuts_bias_index: bool = False

    def __post_init__(self) -> None:
        """Fill in the derived sizes and refuse sizes that do not fit together."""
        _check_whole("depths", self.depths)
        if len(self.depths) > MOST_STAGES:
            raise ValueError(f"depths of {len(self.depths)} stages are over {MOST_STAGES}")
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        self._fill_in()
        self._check_video()
        if self.width % self.text_heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.text_heads}")
        if self.has_joint_heads and not self.has_projections:
            raise ValueError("joint heads need the projections to the joint space")

    def _fill_in(self) -> None:
        heads = self.heads or tuple(max(1, width // HEAD_DIM) for width in self.widths)
        fits = self.grid % MASK_GRID == 0
        mask_grid = MASK_GRID if fits else max(1, self.grid // PATCHES_PER_CELL)
        object.__setattr__(self, "heads", heads)
        object.__setattr__(self, "mlp_width", self.mlp_width or MLP_RATIO * self.width)
        object.__setattr__(self, "mask_grid", self.mask_grid or mask_grid)

    def _check_video(self) -> None:
        _check_whole("heads", self.heads)
        _check_whole("window", self.window)
        if len(self.window) != AXES:
            raise ValueError(f"window {self.window} is not one of time, height and width")
        if len(self.heads) != len(self.depths):
            raise ValueError(f"heads {self.heads} are not those of {len(self.depths)} stages")
        for width, count in zip(self.widths, self.heads, strict=True):
            if width % count:
                raise ValueError(f"width {width} of a stage is not a multiple of its {count} heads")
        if not 0 < self.mask_grid <= self.grid:
            raise ValueError(f"mask_grid {self.mask_grid} does not fit {self.grid} patches")

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each stage of the video encoder."""
        return tuple(self.embed_width << stage for stage in range(len(self.depths)))

    @property
    def video_width(self) -> int:
        """Width of the features of the video encoder."""
        return self.widths[-1]

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return -(-self.frame_size // self.patch)

    @property
    def final_grid(self) -> int:
        """Features along one side of a frame: each stage but the last halves the grid."""
        grid = self.grid
        for _ in self.depths[1:]:
            grid = -(-grid // 2)
        return grid

    @property
    def steps(self) -> int:
        """Moments in time of the features of the longest clip that can be fused."""
        return -(-self.frames // self.tubelet)


def _check_whole(name: str, values: tuple[int, ...]) -> None:
    if not isinstance(values, tuple) or not values:
        raise ValueError(f"{name} is {values!r}, not a list of numbers")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} {values} holds {value!r}, which is no positive whole number")


_SIZES = (
    *("embed_width", "patch", "tubelet", "frame_size", "frames", "width", "text_depth"),
    *("text_heads", "max_text_tokens", "vocabulary", "fusion_depth", "projection"),
    "projection_hidden",
)

CLOVER_BASE = CloverDims()
"""The published network, Video Swin-B and BERT-base, with the matching head that is ours."""

CLOVER_SMALL = CloverDims(
    embed_width=24,
    depths=(1, 1, 2, 1),
    heads=(1, 2, 4, 8),
    window=(4, 8, 8),
    frame_size=64,
    frames=4,
    width=192,
    text_depth=3,
    text_heads=3,
    max_text_tokens=40,
    fusion_depth=2,
    projection=192,
    projection_hidden=384,
)
"""Small enough to be trained from nothing on a CPU, on frames of 64 px."""
