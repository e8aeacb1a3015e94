"""Galleries of made-up embeddings: in clouds, as footage is, or scattered, as nothing is."""

from uuid import UUID

import numpy as np

from service.index.faiss_index import FaissIndex, Keys, Slot
from service.index.near import build_near
from service.index.recall import Questions, tune

PER_VIDEO = 4


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clouds(count, *, dim=16, num_clouds=40, spread=0.6, seed=0):
    """Return unit vectors around random centres, float16 (count, dim)."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(num_clouds, dim))
    places = random.integers(0, num_clouds, count)
    return unit(centres[places] + spread * random.normal(size=(count, dim))).astype(np.float16)


def scattered(count, *, dim=64, seed=0):
    """Return unit vectors in all directions, which no near index can find well."""
    return unit(np.random.default_rng(seed).normal(size=(count, dim))).astype(np.float16)


def flat_index(vectors):
    """Index embeddings, four to a video."""
    num_videos = -(-len(vectors) // PER_VIDEO)
    slots = [Slot(UUID(int=place << 64), 1, place + 1) for place in range(num_videos)]
    positions = [divmod(position, PER_VIDEO) for position in range(len(vectors))]
    return FaissIndex.build(vectors, Keys.of(slots, positions), kind="flat_fp16")


def near_index(flat, kind, event, *, wanted=0.9):
    """Make an index near, with the least effort that finds enough."""
    built = FaissIndex(build_near(flat.exact, kind, is_given_up=event), flat.keys, kind=kind)
    questions = Questions.of(flat, np.empty((0, flat.dim), np.float32), num_queries=24)
    return built.used(tune(built, kind, questions, wanted=wanted))
