"""An image-text model as a retriever of video.

Shapes: B items, T frames, S side, N = B T images, L tokens, E joint space.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.precision import store_matrices
from model.image_text.patches import cut_into_patches
from model.image_text.sizes import POOLS_AT_END_OF_TEXT, Sizes
from model.image_text.texts import TextRules, tokenize
from model.preprocessing import Preprocessing
from model.retrieval import MatcherMissingError, RetrievalModel, RetrievalSpec, Tokens

FAMILY = "image_text"
IMAGES_PER_PASS = 64
"""Clips are cut into passes of so many images, which bounds what a large tower takes at once."""


class ImageTextRetriever(RetrievalModel):
    """A pair of towers. It holds no state that a call changes: no locks.

    The embedding of a clip is the mean of its frames' embeddings, which is how CLIP4Clip
    (arXiv:2104.08860) pools without parameters. Every frame counts the same: embeddings have
    unit norm before they are averaged, and the mean is brought to unit norm again.

    Args:
        network: of `transformers`, with weights, which it takes over (and converts, see `dtype`).
        sizes: of both towers.
        preprocessing: how frames are cut and scaled.
        tokenizer: turns text into ids.
        rules: how texts are cut and padded.
        similarity_weight: see `RetrievalSpec`.
        device: where to run.
        dtype: type in which matrices are multiplied; the rest is float32.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        sizes: Sizes,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer,
        rules: TextRules,
        similarity_weight: float = 0.0,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.spec = RetrievalSpec(
            family=FAMILY,
            embedding_dim=sizes.embedding_dim,
            frames_per_clip=preprocessing.frames_per_clip,
            frame_size=preprocessing.frame_size,
            resize_short=preprocessing.resize_short,
            fit=preprocessing.fit,
            resample=preprocessing.resample,
            mean=preprocessing.mean,
            std=preprocessing.std,
            max_text_tokens=rules.max_tokens,
            has_retriever=True,
            has_matcher=False,
            similarity_weight=similarity_weight,
        )
        self.network: Any = network.to(device).eval().requires_grad_(requires_grad=False)
        self.device = torch.device(device)
        self.dtype = dtype
        store_matrices(self.network, dtype)
        self._sizes = sizes
        self._preprocessing = preprocessing
        self._tokenizer = tokenizer
        rules.set_up(tokenizer)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Turn texts into tokens, padded as the model was trained."""
        return tokenize(self._tokenizer, texts)

    def embed_text(self, tokens: Tokens) -> Tensor:
        """Return the unit-norm embeddings of texts, float32 (B, E)."""
        given = {"input_ids": tokens.ids.to(self.device)}
        if self._sizes.model_type in POOLS_AT_END_OF_TEXT:
            given["attention_mask"] = tokens.mask.to(self.device)
        with self._inference():
            features = self.network.get_text_features(**given).pooler_output
            return functional.normalize(features.float(), dim=-1).cpu()

    def embed_video(self, clips: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips, float32 (B, E).

        Args:
            clips: RGB, uint8 (B, T, S, S, 3).

        Raises:
            ValueError: the clips are of another size or type.
        """
        side = self.spec.frame_size
        if clips.dtype != torch.uint8 or clips.shape[2:] != (side, side, 3):
            raise ValueError(f"clips are {clips.dtype} {tuple(clips.shape)}, not uint8 of {side}px")
        images = clips.flatten(0, 1).split(IMAGES_PER_PASS)  # (<= IMAGES_PER_PASS, S, S, 3) each
        with self._inference():
            frames = torch.cat([self._embed_images(part) for part in images])  # (N, E)
            frames = frames.view(*clips.shape[:2], -1)  # (B, T, E)
            return functional.normalize(frames.mean(dim=1), dim=-1).cpu()

    def match(self, tokens: Tokens, clips: Tensor) -> Tensor:
        """Refuse: two towers have no fused pass.

        Raises:
            MatcherMissingError: always.
        """
        del tokens, clips
        raise MatcherMissingError("an image-text model has no fused pass; add a matcher behind it")

    def _embed_images(self, images: Tensor) -> Tensor:
        """Return the unit-norm embeddings of uint8 (N, S, S, 3), float32 (N, E)."""
        pixels = self._preprocessing.normalise(images.to(self.device)[None])[0]  # (N, 3, S, S)
        given = {"pixel_values": pixels}
        if self._sizes.is_patchwise:
            given = cut_into_patches(pixels, self._sizes.vision.patch_size)
        features = self.network.get_image_features(**given).pooler_output
        return functional.normalize(features.float(), dim=-1)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        is_half = self.dtype is not torch.float32
        autocast = torch.autocast(self.device.type, self.dtype, enabled=is_half)
        with torch.inference_mode(), autocast:
            yield
