"""The sizes of an All-in-One network, and the three that were published."""

from dataclasses import dataclass
from typing import ClassVar, Literal

RollOrder = Literal["raster", "spread"]

HEAD_DIM = 64
"""Width of one attention head in every published size."""

MASK_GRID = 7
"""Cells along one side of a tube mask in Clover (arXiv:2207.07885)."""

MLP_RATIO = 4
"""Hidden width of the block's MLP as a multiple of the network's width."""


@dataclass(frozen=True, kw_only=True)
class Dims:
    """Everything that decides the shapes and the arithmetic of a network.

    Attributes:
        width: feature width C.
        depth: number of transformer blocks.
        heads: attention heads H; `width // 64` if not given.
        mlp_width: hidden width of the MLP; four times the width if not given.
        patch: side of a patch, pixels.
        frame_size: side S of the square frames, pixels.
        frames: rows of the temporal embedding: the longest clip T.
        max_text_tokens: rows of the text position table: the longest text L.
        vocabulary: rows of the word table V.
        projection: width E of the joint space of the contrastive objective.
        is_distilled: the class with a second special token and no temporal position.
        has_projections: the projections to the joint space exist (contrastive objective).
        has_matching_head: the head of the matching objective exists.
        has_mlm_head: the head of the masked-language objective exists.
        roll_share: one part in `roll_share` of a frame's tokens rolls each way.
        roll_order: which patches those are: the first and last in raster order (the top and
            bottom rows of the frame), or patches spread evenly over it.
        rolls_unimodal: tokens roll in the video-only pass too (never in the published networks).
        has_rank_head: texts are ranked for a clip by a head of its own (files tuned for ranking).
        has_joint_heads: what Clover's objectives need beside the projections exists: the mask token
            of patches and the projections of the fused pass (in none of the published networks).
        lexicon: tokens of which it is known what they mean: the V of the word table, and those
            after them that the backbone reads as one unknown word; 0: nothing is known.
        unknown: row of the word table that they are read as.
    """

    family: ClassVar[str] = "all_in_one"

    width: int
    depth: int
    heads: int = 0
    mlp_width: int = 0
    patch: int = 16
    frame_size: int = 224
    frames: int = 3
    max_text_tokens: int = 40
    vocabulary: int = 30522
    projection: int = 512
    is_distilled: bool = False
    has_projections: bool = True
    has_matching_head: bool = True
    has_mlm_head: bool = True
    roll_share: int = 8
    roll_order: RollOrder = "raster"
    rolls_unimodal: bool = False
    has_rank_head: bool = False
    has_joint_heads: bool = False
    lexicon: int = 0
    unknown: int = 0

    def __post_init__(self) -> None:
        """Fill in the derived sizes and refuse sizes that do not fit together."""
        object.__setattr__(self, "heads", self.heads or max(1, self.width // HEAD_DIM))
        object.__setattr__(self, "mlp_width", self.mlp_width or MLP_RATIO * self.width)
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.frame_size % self.patch:
            raise ValueError(f"frame_size {self.frame_size} is not a multiple of {self.patch}")
        if self.roll_order not in ("raster", "spread"):
            raise ValueError(f"roll_order is raster or spread, not {self.roll_order!r}")
        if self.has_joint_heads and not self.has_projections:
            raise ValueError("joint heads need the projections to the joint space")
        self._check_lexicon()

    def _check_lexicon(self) -> None:
        if self.lexicon and not (self.has_projections and self.lexicon >= self.vocabulary):
            raise ValueError(
                f"a lexicon needs projections and at least the {self.vocabulary} rows of the word "
                f"table, not {self.lexicon}"
            )
        if not 0 <= self.unknown < self.vocabulary:
            raise ValueError(f"the unknown word {self.unknown} is no row of the word table")

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.frame_size // self.patch

    @property
    def num_patches(self) -> int:
        """Patches of one frame."""
        return self.grid**2

    @property
    def mask_grid(self) -> int:
        """Cells along one side of a tube mask: Clover's seven, or a patch each if they do not fit.

        Of the published 14 x 14 patches each cell covers 2 x 2.
        """
        return MASK_GRID if self.grid % MASK_GRID == 0 else self.grid

    @property
    def num_special(self) -> int:
        """Special tokens before the patches: cls, and dist in the distilled class."""
        return 2 if self.is_distilled else 1

    @property
    def num_image_tokens(self) -> int:
        """Tokens P of one frame."""
        return self.num_special + self.num_patches

    @property
    def num_rolled(self) -> int:
        """Tokens f of one frame that roll each way."""
        return self.num_image_tokens // self.roll_share


_SIZES = (
    "width",
    "depth",
    "heads",
    "mlp_width",
    "patch",
    "frame_size",
    "frames",
    "max_text_tokens",
    "vocabulary",
    "projection",
    "roll_share",
)

TINY = Dims(width=192, depth=12)
SMALL = Dims(width=384, depth=12, is_distilled=True)
BASE = Dims(width=768, depth=12)
