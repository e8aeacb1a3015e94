"""Captions and feedback are added, listed and deleted, and nothing of what is deleted stays."""

import threading
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from service import videos
from service.captions import feedback, writing
from service.captions.feedback import Place
from service.catalog.activation_tables import Activation, Trigger
from service.catalog.audit import audit
from service.catalog.caption_tables import Caption, CaptionSource, Feedback
from service.catalog.job_queries import claim_job
from service.catalog.session import in_transaction
from service.catalog.tables import Generation, Job, JobKind
from service.catalog.tuning_queries import set_candidate
from service.catalog.tuning_tables import Tuning, TuningPair
from service.errors import BadRequestError, InvalidInputError, NotFoundError

SECRET = b"k" * 32


def count(sessions, table):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_caption_is_kept_in_its_plain_form(make_video, say):
    video_id = make_video()

    caption = say(video_id, "  a  cat\n", 1, 9 - 0.7)

    assert (caption.video_id, caption.text) == (video_id, "a cat")
    assert (caption.start_s, caption.end_s) == (1.0, 8.0)
    assert caption.source is CaptionSource.TYPED


def test_a_video_that_waits_may_have_captions(make_video, say):
    assert say(make_video(is_ready=False), "a cat").id


def test_the_same_caption_is_kept_once(sessions, make_video, say):
    video_id, other_id = make_video(), make_video()
    first = say(video_id, "a cat", 0, 2)

    assert say(video_id, "a  cat ", 0, 2.0001).id == first.id
    assert say(video_id, "a cat").id == say(video_id, "a cat", 0, 8).id != first.id
    assert len({say(other_id, "a cat", 0, 2).id, say(video_id, "A cat", 0, 2).id, first.id}) == 3
    assert count(sessions, Caption) == 4


def test_captions_of_the_same_words_at_once_are_one(sessions, make_video, say):
    video_id = make_video()
    threads = [threading.Thread(target=say, args=(video_id, "a cat")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert count(sessions, Caption) == 1


def test_nothing_is_said_of_a_video_that_is_not_there(sessions, make_video, say, judge):
    deleted_id, video_id = make_video(), make_video()
    videos.delete_video(sessions, deleted_id)

    for missing_id in (uuid4(), deleted_id):
        with pytest.raises(NotFoundError):
            say(missing_id, "a cat")
        with pytest.raises(NotFoundError):
            judge("a cat", "right", missing_id)
        with pytest.raises(NotFoundError):
            judge("a cat", "instead", video_id, instead=Place(video_id=missing_id))
        with pytest.raises(NotFoundError), sessions() as session:
            writing.list_captions(session, secret=SECRET, video_id=missing_id)
        with pytest.raises(NotFoundError):
            writing.delete_caption(sessions, missing_id)
        with pytest.raises(NotFoundError):
            feedback.delete_feedback(sessions, missing_id)


def test_pages_hold_every_caption_once_newest_first(sessions, make_video, say):
    video_id, other_id = make_video(), make_video()
    made = [say((video_id, other_id)[n % 2], f"text {n}").id for n in range(7)]

    def read(video_id):
        cursor, found = None, []
        while True:
            with sessions() as session:
                page = writing.list_captions(
                    session, secret=SECRET, video_id=video_id, limit=2, cursor=cursor
                )
            found += [one.id for one in page.captions]
            cursor = page.next_cursor
            if cursor is None:
                return found

    assert read(None) == made[::-1]
    assert read(video_id) == made[::2][::-1]


def test_a_cursor_of_another_list_is_refused(sessions, make_video, say):
    video_id = make_video()
    for n in range(2):
        say(video_id, f"text {n}")
    with sessions() as session:
        cursor = writing.list_captions(session, secret=SECRET, limit=1).next_cursor
        with pytest.raises(BadRequestError):
            writing.list_captions(session, secret=SECRET, video_id=video_id, cursor=cursor)
        with pytest.raises(BadRequestError):
            feedback.list_feedback(session, secret=SECRET, cursor=cursor)
        with pytest.raises(InvalidInputError):
            writing.list_captions(session, secret=SECRET, limit=0)
        with pytest.raises(InvalidInputError):
            feedback.list_feedback(session, secret=SECRET, limit=1000)


def test_the_newest_feedback_is_not_written_twice_but_a_change_of_mind_is(
    sessions, make_video, judge
):
    video_id = make_video()
    given = [judge("a cat", v, video_id, 0, 4) for v in ("right", "right", "wrong", "right")]

    assert [is_new for _feedback, is_new in given] == [True, False, True, True]
    with sessions() as session:
        page = feedback.list_feedback(session, secret=SECRET, limit=2)
        rest = feedback.list_feedback(session, secret=SECRET, cursor=page.next_cursor)
    assert [str(one.verdict) for one in (*page.feedback, *rest.feedback)] == [
        "right",
        "wrong",
        "right",
    ]


def test_feedback_must_make_sense(make_video, judge):
    video_id = make_video()
    here = Place(video_id=video_id, start_s=0, end_s=4)
    for verdict, instead in [("instead", None), ("right", here), ("wrong", here)]:
        with pytest.raises(InvalidInputError, match="instead"):
            judge("a cat", verdict, video_id, 4, 8, instead=instead)
    with pytest.raises(InvalidInputError, match="same moment"):
        judge("a cat", "instead", video_id, 0, 4, instead=here)
    with pytest.raises(InvalidInputError, match="video after 8 s"):
        judge("a cat", "wrong", video_id, 0, 40)


@pytest.fixture
def said(make_video, say, judge, keep_pairs):
    """A video with a caption, and feedback that ties it to another; pairs of a tuning."""
    video_id, other_id = make_video(), make_video()
    caption = say(video_id, "a cat")
    right, _ = judge("a dog", "right", other_id)
    instead, _ = judge("a cow", "instead", other_id, instead=Place(video_id=video_id))
    assert keep_pairs() == 4
    return video_id, other_id, caption, right, instead


def test_deleting_a_caption_deletes_its_pairs(sessions, said):
    writing.delete_caption(sessions, said[2].id)

    assert (count(sessions, Caption), count(sessions, TuningPair)) == (0, 3)


def test_deleting_feedback_deletes_its_pairs(sessions, said):
    feedback.delete_feedback(sessions, said[4].id)

    assert (count(sessions, Feedback), count(sessions, TuningPair)) == (1, 2)


def test_deleting_a_video_deletes_all_that_was_said_of_it(sessions, read_sessions, storage, said):
    videos.delete_video(sessions, said[0])

    assert count(sessions, Caption) == 0
    with sessions() as session:
        assert session.scalars(select(Feedback.id)).all() == [said[3].id]
        assert session.scalars(select(TuningPair.origin_id)).all() == [said[3].id]
    videos.delete_video(sessions, said[1])
    assert (count(sessions, Feedback), count(sessions, TuningPair)) == (0, 0)
    with read_sessions() as session:
        assert audit(session, storage, grace_s=100) == []


@pytest.fixture
def quoted(sessions, said):
    """A tuning and an activation whose reports quote what was said."""
    with sessions.begin() as session:
        tuning = session.scalars(select(Tuning)).one()
        pairs = session.scalars(select(TuningPair)).all()
        queries = [{"text": one.text, "video_id": str(one.video_id)} for one in pairs]
        tuning.report = {"verdict": "better", "held_out": {"texts": 4, "queries": queries}}
        generation_id = session.scalars(select(Generation.id)).one()
        examples = [{"text": text} for text in ("a cat", "a dog", "a cow")]
        report = {"shadow": {"texts": 3, "examples": examples}, "pins": []}
        session.add(Activation(generation_id=generation_id, trigger=Trigger.PERSON, report=report))
    return said


def quotations(sessions):
    """Return the texts that the tuning quotes, and those that the activation does."""
    with sessions() as session:
        tuning = session.scalars(select(Tuning.report)).one()
        activation = session.scalars(select(Activation.report)).one()
    assert tuning["held_out"]["texts"] == 4
    queries = tuning["held_out"]["queries"]
    return {one["text"] for one in queries}, {
        one["text"] for one in activation["shadow"]["examples"]
    }


def test_reports_do_not_quote_what_was_deleted(sessions, quoted):
    writing.delete_caption(sessions, quoted[2].id)
    assert quotations(sessions) == ({"a dog", "a cow"}, {"a dog", "a cow"})

    feedback.delete_feedback(sessions, quoted[4].id)
    assert quotations(sessions) == ({"a dog"}, {"a dog"})

    videos.delete_video(sessions, quoted[1])
    assert quotations(sessions) == (set(), set())


def test_a_report_leaves_out_what_was_deleted_while_it_was_made(sessions, said):
    with sessions.begin() as session:
        tuning = session.scalars(select(Tuning)).one()
        job = Job(kind=JobKind.TUNE, subject_id=tuning.id, version=1)
        session.add(job)
        session.flush()
        texts = {one.text: str(one.video_id) for one in session.scalars(select(TuningPair))}
        version_id = tuning.base_version_id
    claimed = in_transaction(sessions, lambda session: claim_job(session, job.id, lease_s=60))
    queries = [{"text": text, "video_id": video_id} for text, video_id in texts.items()]
    writing.delete_caption(sessions, said[2].id)

    with sessions.begin() as session:
        written = set_candidate(
            session,
            job.id,
            claimed.fence,
            candidate_version_id=version_id,
            report={"verdict": "better", "held_out": {"queries": queries}},
        )

    assert {one["text"] for one in written.report["held_out"]["queries"]} == {"a dog", "a cow"}


def test_a_pair_never_outlives_its_caption(sessions, make_video, say, keep_pairs):
    video_id = make_video()
    for turn in range(5):
        caption = say(video_id, f"text {turn}")
        threads = [
            threading.Thread(target=keep_pairs),
            threading.Thread(target=writing.delete_caption, args=(sessions, caption.id)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert (count(sessions, Caption), count(sessions, TuningPair)) == (0, 0)
