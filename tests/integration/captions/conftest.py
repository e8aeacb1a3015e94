"""Videos to say something of, on both databases."""

import pytest
from sqlalchemy import select

from service.captions.feedback import NewFeedback, Place, give_feedback
from service.captions.writing import NewCaption, add_caption
from service.catalog.caption_tables import Verdict
from service.catalog.generation_queries import active_generation
from service.catalog.tables import ModelVersion
from service.catalog.tuning_tables import Policy, Tuning, TuningPair
from service.pairs import PairFilter, collect_pairs
from tests import factories


@pytest.fixture
def make_video(upload, sessions, storage):
    """Upload a video of 8 s and ingest it: `make_video(tags=["a"])`; its id."""

    def make_video(content=None, *, is_ready=True, **options):
        accepted = upload(content, **options)
        if is_ready:
            vectors = options.pop("vectors", factories.unit_vectors(2, seed=accepted.video_id.int))
            factories.ingest(sessions, storage, accepted.job_id, vectors=vectors)
        return accepted.video_id

    return make_video


@pytest.fixture
def say(sessions):
    """Add a caption: `say(video_id, "a cat", 1, 2)`."""

    def say(video_id, text, start_s=None, end_s=None):
        new = NewCaption(video_id=video_id, text=text, start_s=start_s, end_s=end_s)
        return add_caption(sessions, new)[0]

    return say


@pytest.fixture
def judge(sessions):
    """Give feedback: `judge("a cat", Verdict.RIGHT, video_id, 0, 4)`."""

    def judge(text, verdict, video_id, start_s=None, end_s=None, *, instead=None):
        new = NewFeedback(
            text=text,
            verdict=Verdict(verdict),
            hit=Place(video_id=video_id, start_s=start_s, end_s=end_s),
            instead=instead,
            receipt={"seq": 1},
        )
        return give_feedback(sessions, new)

    return judge


@pytest.fixture
def keep_pairs(sessions):
    """Store the pairs of all videos as those of a tuning, as a tuning does; how many."""

    def keep_pairs():
        with sessions.begin() as session:
            version = session.scalars(select(ModelVersion)).first()
            tuning = Tuning(base_version_id=version.id, policy=Policy.MANUAL, request={})
            session.add(tuning)
            session.flush()
            pairs = collect_pairs(session, PairFilter(), holds=True)
            for ordinal, pair in enumerate(pairs):
                session.add(stored(tuning.id, ordinal, pair))
        return len(pairs)

    return keep_pairs


def stored(tuning_id, ordinal, pair):
    return TuningPair(
        tuning_id=tuning_id,
        ordinal=ordinal,
        origin=pair.origin,
        origin_id=pair.origin_id,
        video_id=pair.video_id,
        text=pair.text,
        start_s=pair.start_s,
        end_s=pair.end_s,
        is_held_out=False,
        is_negative=pair.is_negative,
    )


@pytest.fixture
def generation_id(sessions, generation):  # noqa: ARG001 (it must be there)
    """The active generation."""
    with sessions() as session:
        return active_generation(session).generation_id
