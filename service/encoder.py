"""Texts into embeddings, and pairs of text and clip into match log-odds, batched over requests."""

import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeGuard
from uuid import UUID

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from model.batching import Batcher, BatcherClosedError, BatcherFullError
from model.bundle import bundle_digest, load_bundle
from model.device import choose_device
from model.memory import give_back_everything, is_out_of_memory
from model.retrieval import RetrievalModel, clips_to_tensor
from service.errors import UnavailableError
from service.recent import Recent
from service.registry import Facts
from service.settings import Settings

log = structlog.get_logger(__name__)

TEXTS_PER_PASS = 32
WAIT_MS = 2.0  # for others to join a pass
TEXT_TIMEOUT_S = 10.0
PAIRS_BYTES = 256 * 1024 * 1024
"""Clips that wait to be matched take so much memory at most, in all searches together."""
KEPT_EMBEDDINGS = 2_000
KEPT_MATCHES = 50_000
NEWEST_QUERIES = 64
WARM_UP_TEXT = "a ball"


class ClipKey(NamedTuple):
    """What names the stored clip of a segment, for ever."""

    video_id: UUID
    version: int
    ordinal: int


class Pair(NamedTuple):
    """A text and a clip to be matched.

    Attributes:
        text: normalised as `embed_text` was given it.
        key: names the clip.
        clip: uint8 (T, S, S, 3).
        deadline: `time.monotonic()` after which nobody waits for it.
    """

    text: str
    key: ClipKey
    clip: NDArray[np.uint8]
    deadline: float


def read_facts(bundle_path: Path) -> Facts:
    """Load a bundle, which proves that it can be used, and say what it is.

    Raises:
        BundleError: the folder holds no bundle that can be used.
    """
    spec = load_bundle(bundle_path, precision="float32").spec
    return Facts(
        family=spec.family,
        digest=bundle_digest(bundle_path),
        can_search=spec.has_retriever,
        can_match=spec.has_matcher,
        spec=asdict(spec),
    )


class Encoder:
    """The model of one generation, for searches. Thread safe; requests share passes.

    Args:
        bundle_path: folder of the bundle.
        settings: device, threads, and how many requests may wait.

    Raises:
        BundleError: the folder holds no bundle that can be used.
    """

    def __init__(self, bundle_path: Path, settings: Settings) -> None:
        if settings.torch_threads:
            torch.set_num_threads(settings.torch_threads)
        self.digest = bundle_digest(bundle_path)
        self._model: RetrievalModel = load_bundle(
            bundle_path, device=choose_device(settings.device)
        )
        self.spec = self._model.spec
        self._embeddings: Recent[str, NDArray[np.float32]] = Recent(KEPT_EMBEDDINGS)
        self._matches: Recent[tuple[str, ClipKey], float] = Recent(KEPT_MATCHES)
        self._texts: Batcher[str, NDArray[np.float32]] = Batcher(
            self._embed,
            max_batch=TEXTS_PER_PASS,
            max_wait_ms=WAIT_MS,
            max_queue=settings.search_queue,
            name="embed-texts",
            on_limit=partial(_log_limit, "texts"),
        )
        spec = self.spec
        clip_bytes = 3 * spec.frames_per_clip * spec.frame_size**2
        self._max_pairs = max(1, PAIRS_BYTES // clip_bytes)
        self._pairs: Batcher[Pair, float | None] = Batcher(
            self._match,
            max_batch=settings.embed_batch,
            max_wait_ms=WAIT_MS,
            max_queue=min(self._max_pairs, settings.search_queue * max(1, settings.rerank_depth)),
            name="match-pairs",
            on_limit=partial(_log_limit, "pairs"),
        )
        self.num_passes = 0

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, unit norm, (E,).

        Raises:
            UnavailableError: too many wait already.
        """
        known = self._embeddings.get(text)
        if known is not None:
            return known
        try:
            return self._texts.submit(text).result(TEXT_TIMEOUT_S)
        except (BatcherFullError, BatcherClosedError, CancelledError, TimeoutError) as error:
            raise _too_busy() from error

    def recent_queries(self) -> NDArray[np.float32]:
        """Return embeddings of texts that were searched for lately, newest first, (t, E)."""
        newest = self._embeddings.newest(NEWEST_QUERIES)
        return np.array(newest, np.float32).reshape(-1, self.spec.embedding_dim)

    def recall(self, text: str, keys: Sequence[ClipKey]) -> dict[ClipKey, float]:
        """Return those log-odds that are remembered."""
        remembered = {key: self._matches.get((text, key)) for key in keys}
        return {key: value for key, value in remembered.items() if value is not None}

    def can_match(self, clip: NDArray[np.uint8] | None) -> TypeGuard[NDArray[np.uint8]]:
        """Tell whether a stored clip has the shape that this model reads."""
        spec = self.spec
        shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)
        return clip is not None and clip.shape == shape

    def rerank_score(self, *, similarity: float, log_odds: float) -> float:
        """Return what a matched hit is ordered by, best highest; evaluation uses the same."""
        return self.spec.rerank_score(similarity=similarity, log_odds=log_odds)

    def probability(self, *, similarity: float, log_odds: float) -> float:
        """Return the match probability of a matched hit, calibrated if the model is."""
        return self.spec.probability(similarity=similarity, log_odds=log_odds)

    @property
    def confident_probability(self) -> float | None:
        """What the best hit must reach for an answer to be confident; None if nobody knows."""
        return self.spec.confident_probability if self.spec.can_be_unsure else None

    def match(
        self, text: str, clips: Sequence[tuple[ClipKey, NDArray[np.uint8]]], deadline: float
    ) -> list[float | None]:
        """Return the log-odds that a text belongs to each of some clips.

        Args:
            text: the query.
            clips: with their keys, each uint8 (T, S, S, 3).
            deadline: `time.monotonic()` after which the answers are not wanted any more.

        Returns:
            One each; None where the time ran out or memory did not suffice, and for all beyond
            those that may wait at once.

        Raises:
            UnavailableError: too many wait already.
            MatcherMissingError: `spec.has_matcher` is False.
        """
        pairs = [Pair(text, key, clip, deadline) for key, clip in clips[: self._max_pairs]]
        try:
            futures = self._pairs.submit_many(pairs)
        except (BatcherFullError, BatcherClosedError) as error:
            raise _too_busy() from error
        wait(futures, timeout=max(0.0, deadline - time.monotonic()))
        left_out: list[float | None] = [None] * (len(clips) - len(pairs))
        return [_result_now(future) for future in futures] + left_out

    def frame_similarities(
        self, query: NDArray[np.float32], clip: NDArray[np.uint8]
    ) -> list[float]:
        """Return how similar a query is to each frame of a clip alone.

        Frame t is embedded as the clip that shows it T times: what the model would make of the
        segment if nothing moved in it. With one frame per clip that is the clip itself.

        Args:
            query: unit norm, (E,).
            clip: uint8 (T, S, S, 3), as `can_match` wants it.

        Raises:
            UnavailableError: memory does not hold a single clip now.
        """
        still = list(np.repeat(clip[:, None], len(clip), axis=1))  # T of (T, S, S, 3)
        embeddings = self._embed_if_it_fits(still)
        if embeddings is None:  # here the error is gone, and what its frames held
            give_back_everything()
            _log_limit("frames", 1)
            one_by_one = [self._embed_if_it_fits([one]) for one in still]
            there = [one for one in one_by_one if one is not None]
            if len(there) < len(still):
                raise _too_busy()
            embeddings = np.concatenate(there)
        similarities: list[float] = (embeddings @ query).tolist()
        return similarities

    def _embed_if_it_fits(self, clips: list[NDArray[np.uint8]]) -> NDArray[np.float32] | None:
        """Return embeddings of clips, (N, E); None if memory does not hold so many at once."""
        try:
            return self._model.embed_video(clips_to_tensor(clips)).numpy()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None

    def warm_up(self) -> None:
        """Run each pass once, so that the first search does not pay for what is made lazily."""
        self._model.embed_text(self._model.tokenize([WARM_UP_TEXT]))
        if self.spec.has_matcher:
            spec = self.spec
            shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)
            clips = clips_to_tensor([np.zeros(shape, np.uint8)])
            self._model.match(self._model.tokenize([WARM_UP_TEXT]), clips)

    def close(self) -> None:
        """Take no more requests; those that wait are cancelled."""
        self._texts.close(drain=False)
        self._pairs.close(drain=False)

    def _embed(self, texts: list[str]) -> list[NDArray[np.float32]]:
        self.num_passes += 1
        embeddings = self._model.embed_text(self._model.tokenize(texts)).numpy()
        for text, embedding in zip(texts, embeddings, strict=True):
            self._embeddings.put(text, embedding)
        return list(embeddings)

    def _match(self, pairs: list[Pair]) -> list[float | None]:
        now = time.monotonic()
        due = [place for place, pair in enumerate(pairs) if pair.deadline > now]
        answers: list[float | None] = [None] * len(pairs)
        if not due:
            return answers
        self.num_passes += 1
        tokens = self._model.tokenize([pairs[place].text for place in due])
        clips = clips_to_tensor([pairs[place].clip for place in due])
        for place, log_odds in zip(due, self._model.match(tokens, clips).tolist(), strict=True):
            answers[place] = log_odds
            self._matches.put((pairs[place].text, pairs[place].key), log_odds)
        return answers


def _result_now(future: Future[float | None]) -> float | None:
    """Return the answer if it is there; else nobody needs it any more."""
    if future.cancel() or not future.done() or future.cancelled():
        return None
    error = future.exception()
    if error is not None and is_out_of_memory(error):
        return None
    return future.result()


def _log_limit(what: str, limit: int) -> None:
    log.warning("batch_limited", what=what, limit=limit, why="memory")


def _too_busy() -> UnavailableError:
    return UnavailableError(
        "Too many searches wait already; try again in a moment.",
        reason="too_busy",
        retry_after_s=1,
    )
