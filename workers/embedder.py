"""One loaded bundle that embeds the clips of all videos in work: its batches mix videos."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import structlog
import torch

from model.batching import Batcher
from model.bundle import BundleError, bundle_digest, load_bundle
from model.device import choose_device
from model.memory import is_out_of_memory
from model.retrieval import RetrievalModel, RetrievalSpec, clips_to_tensor
from service.catalog.generation_queries import ActiveGeneration
from service.errors import UnavailableError
from service.models import find_bundle
from service.registry import Registry
from service.settings import Settings

MAX_WAIT_MS = 20.0
"""A clip waits so long for clips of other videos, if any came lately."""

MEMORY_WAIT_S = 30
"""A job waits so long for memory that others use before it looks again."""

MAX_QUEUE = 65_536
"""Never reached: each job bounds how many of its clips wait."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ClipOf:
    """A decoded clip and the video that it belongs to."""

    video_id: UUID
    frames: np.ndarray
    """uint8 (T, S, S, 3)."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedPass:
    """What is told of one forward pass.

    Attributes:
        clips: how many clips it embedded.
        videos: of how many videos.
    """

    clips: int
    videos: int


class Embedder:
    """Embed clips that come from many threads.

    Args:
        network: the loaded bundle.
        max_batch: clips in one forward pass at most.
        on_pass: told of each forward pass.
    """

    def __init__(
        self,
        network: RetrievalModel,
        *,
        max_batch: int,
        on_pass: Callable[[EmbeddedPass], None],
    ) -> None:
        self.network = network
        self._on_pass = on_pass
        self._batcher: Batcher[ClipOf, np.ndarray] = Batcher(
            self._embed,
            max_batch=max_batch,
            max_wait_ms=MAX_WAIT_MS,
            max_queue=MAX_QUEUE,
            name="embedder",
            on_limit=_log_limit,
        )

    @property
    def spec(self) -> RetrievalSpec:
        """What the bundle wants and gives."""
        return self.network.spec

    @property
    def depth(self) -> int:
        """Clips that wait for a forward pass now."""
        return self._batcher.depth

    @property
    def batch_limit(self) -> int:
        """Clips in one forward pass at most now: fewer while memory does not suffice."""
        return self._batcher.limit

    @property
    def num_out_of_memory(self) -> int:
        """Forward passes that memory did not suffice for."""
        return self._batcher.num_out_of_memory

    def embed(self, video_id: UUID, frames: np.ndarray) -> "Future[np.ndarray]":
        """Ask for the embedding of a clip.

        Args:
            video_id: the video that it belongs to.
            frames: uint8 (T, S, S, 3).

        Returns:
            A future of its embedding, float32 (E,), unit norm.
        """
        return self._batcher.submit(ClipOf(video_id, frames))

    def close(self) -> None:
        """Embed what waits, then stop."""
        self._batcher.close()

    def _embed(self, clips: list[ClipOf]) -> Sequence[np.ndarray]:
        embeddings = self.network.embed_video(clips_to_tensor([clip.frames for clip in clips]))
        videos = {clip.video_id for clip in clips}
        self._on_pass(EmbeddedPass(clips=len(clips), videos=len(videos)))
        return list(embeddings.numpy())


def embedding_of(future: "Future[np.ndarray]") -> np.ndarray:
    """Wait for the embedding of a clip, float32 (E,).

    Raises:
        UnavailableError: memory does not suffice even for this clip alone. All clips are of one
            size, so it is no fault of the video: others, as a tuning run, need the memory now.
    """
    try:
        return future.result()
    except Exception as error:
        if is_out_of_memory(error):
            raise UnavailableError(
                "Memory does not suffice to embed a single clip; other processes use it.",
                reason="out_of_memory",
                retry_after_s=MEMORY_WAIT_S,
            ) from error
        raise


def _log_limit(clips: int) -> None:
    log.warning("batch_limited", clips=clips, why="memory")


def load_embedder(
    generation: ActiveGeneration, settings: Settings, *, on_pass: Callable[[EmbeddedPass], None]
) -> Embedder:
    """Load the bundle of a generation.

    The path that is registered may be one of another machine; then the configured bundle
    will do if it has the same digest.

    Raises:
        BundleError: it is in neither place.
    """
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    registered = find_bundle(generation, Registry(settings.data_dir), None)
    folder = _find_bundle(generation, (registered, settings.bundle_path))
    network = load_bundle(folder, device=choose_device(settings.device))
    log.info("bundle_loaded", name=generation.name, folder=str(folder))
    return Embedder(network, max_batch=settings.embed_batch, on_pass=on_pass)


def _find_bundle(generation: ActiveGeneration, folders: Iterable[Path]) -> Path:
    wanted = generation.bundle_digest
    for folder in folders:
        if folder.is_dir() and bundle_digest(folder) == wanted:
            return folder
    raise BundleError(
        f"bundle {generation.name} ({wanted[:12]}) is not in {generation.bundle_path}"
    )
