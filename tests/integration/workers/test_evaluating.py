"""evaluate() inside run_job(): a real network over a gallery whose similarities a test decides."""

from contextlib import contextmanager

import pytest

from model.bundle import bundle_digest, load_bundle
from model.retrieval import clips_to_tensor
from service.catalog.activation_tables import Trigger
from service.catalog.evaluation_queries import latest_texts
from service.catalog.evaluation_run_queries import (
    add_runs_after_switch,
    commit_run,
    get_run,
    runs_of,
    unsent_runs,
)
from service.catalog.job_queries import LostLeaseError, claim_job
from service.catalog.session import in_transaction
from service.catalog.tables import Generation, GenerationState, Job, JobState, Video
from service.evaluations import Entry, create_set, request_run
from tests.factories_gallery import Gallery, like
from tests.factories_ingest import get_job
from workers.evaluating import evaluate
from workers.resources import Resources
from workers.runner import run_job

TEXT, OTHER_TEXT = "a red circle", "the dog and the ball"


@pytest.fixture
def network(bundle_dir):
    """The tiny network."""
    return load_bundle(bundle_dir)


@pytest.fixture
def generation(gallery):
    """The generation of the gallery."""
    return gallery.generation


@pytest.fixture
def gallery(sessions, storage, bundle_dir, network):
    """An empty gallery of the tiny bundle."""
    return Gallery(
        sessions, storage, bundle_dir, digest=bundle_digest(bundle_dir), spec=network.spec
    )


@pytest.fixture
def query(network):
    """The embedding of TEXT."""
    return network.embed_text(network.tokenize([TEXT])).numpy()[0]


@pytest.fixture
def ask(sessions, sender, settings):
    """Run a set with some settings, and return the run: `ask(made, rerank_depth=0)`."""

    def ask(made, **options):
        queued = request_run(sessions, sender, made.evaluation_set.id)
        with Resources(settings.model_copy(update=options)) as resources:
            run_job(queued.job.id, evaluate, resources)
        with sessions() as session:
            return get_run(session, queued.run.id)

    return ask


@pytest.fixture
def make_set(sessions):
    """Keep a set: `make_set((text, video_id), (text, video_id, start_s, end_s))`."""

    def make_set(*rows, name="mine"):
        entries = [
            Entry(
                place=f"queries.{n}",
                text=text,
                video=str(video_id),
                start_s=span[0] if span else None,
                end_s=span[1] if span else None,
            )
            for n, (text, video_id, *span) in enumerate(rows)
        ]
        return create_set(sessions, name=name, entries=entries)

    return make_set


def ranks(record, stream="dual_stream"):
    return [one[stream] for one in record.run.answers["queries"]]


def test_a_run_says_where_the_right_moments_stand(gallery, query, make_set, ask):
    best, middle, worst = (
        gallery.add([like(query, top, seed=n), like(query, top - 0.3, seed=n + 10)])
        for n, top in enumerate((0.9, 0.8, 0.7))
    )
    made = make_set(
        (TEXT, middle),
        ("a blue square", best),
        ("a blue square", worst),
        name="whole videos",
    )

    record = ask(made, rerank_depth=0)

    job, run = record.job, record.run
    assert (job.state, job.progress, job.reason) == (JobState.DONE, 1.0, None)
    assert run.generation_id == gallery.generation.generation_id
    assert (run.trigger, record.model_name) == (Trigger.PERSON, "tiny")
    assert ranks(record)[0] == {"moment": 2, "video": 2}
    assert run.answers["queries"][1]["moments"] == 2
    figures = run.figures
    assert (figures["queries"], figures["measured"], figures["gone"]) == (2, 2, 0)
    assert (figures["segments"], figures["videos"]) == (6, 3)
    assert [one["stream"] for one in figures["streams"]] == ["dual_stream", "dual_stream"]
    assert figures["change"] is None


def test_with_a_span_only_its_segments_are_right(gallery, query, make_set, ask):
    video = gallery.add([like(query, top, seed=n) for n, top in enumerate((0.9, 0.8, 0.7))])

    anywhere = ask(make_set((TEXT, video), name="anywhere"), rerank_depth=0)
    last = ask(make_set((TEXT, video, 8.0, 11.0), name="last"), rerank_depth=0)

    assert ranks(anywhere) == [{"moment": 1, "video": 1}]
    assert ranks(last) == [{"moment": 3, "video": 1}]


def test_what_is_no_candidate_is_counted_among_all(gallery, query, make_set, ask):
    videos = [gallery.add([like(query, 0.95 - n / 50, seed=n)]) for n in range(30)]
    made = make_set((TEXT, videos[24]), (OTHER_TEXT, videos[0]))

    record = ask(made, rerank_depth=0, search_candidates=5)

    assert ranks(record)[0] == {"moment": 25, "video": 25}


def test_re_ranking_orders_as_the_fused_pass_does(*, gallery, query, make_set, ask, network):
    depth = 4
    videos = [
        gallery.add([like(query, 0.9 - n / 10, seed=n)], has_clips=True) for n in range(depth + 2)
    ]
    log_odds = _log_odds(gallery, network, videos)
    best = log_odds[:depth]
    expected = [_places_of(n, best) for n in range(depth)]
    expected += [range(depth + 1, depth + 2), range(depth + 2, depth + 3)]

    for n, video in enumerate(videos):
        record = ask(make_set((TEXT, video), name=f"set {n}"), rerank_depth=depth)

        assert ranks(record, "reranked")[0]["moment"] in expected[n]
        assert ranks(record, "reranked")[0]["video"] in expected[n]
        assert ranks(record) == [{"moment": n + 1, "video": n + 1}]
    assert [one["stream"] for one in record.run.figures["streams"]][2:] == ["reranked"] * 2


NEAR_TIE = 0.01
"""Log-odds so near may change places: a process multiplies in the type that it finds quicker."""


def _places_of(n, log_odds):
    """Return the places where one may stand: behind all that are surely better, but no farther."""
    others = [one for m, one in enumerate(log_odds) if m != n]
    first = 1 + sum(one > log_odds[n] + NEAR_TIE for one in others)
    last = 1 + sum(one > log_odds[n] - NEAR_TIE for one in others)
    return range(first, last + 1)


def _log_odds(gallery, network, videos):
    clips = [gallery.storage.read_clip(_derived(gallery, video), 0) for video in videos]
    tokens = network.tokenize([TEXT] * len(clips))
    return network.match(tokens, clips_to_tensor(clips)).tolist()


def _derived(gallery, video_id):
    with gallery.sessions() as session:
        return session.get_one(Video, video_id).derived


def test_queries_of_deleted_videos_are_left_out_and_counted(
    *, gallery, query, make_set, ask, sessions
):
    kept, deleted = gallery.add([like(query, 0.9)]), gallery.add([like(query, 0.8)])
    damaged = gallery.add([like(query, 0.7)], duration_s=60.0)
    made = make_set((TEXT, kept), (OTHER_TEXT, deleted), ("the cat", damaged, 40.0, 50.0))
    gallery.delete(deleted)

    record = ask(made, rerank_depth=0)

    figures = record.run.figures
    counts = {name: figures[name] for name in ("queries", "measured", "gone", "not_indexed")}
    assert counts == {"queries": 3, "measured": 1, "gone": 1, "not_indexed": 1}
    with sessions() as session:
        (queued,) = runs_of(session, made.evaluation_set.id, limit=5)
    assert queued.run.id == record.run.id


def test_a_set_of_which_nothing_is_left_fails_with_the_reason(gallery, query, make_set, ask):
    deleted = gallery.add([like(query, 0.8)])
    made = make_set((TEXT, deleted))
    gallery.delete(deleted)

    record = ask(made)

    assert (record.job.state, record.job.reason) == (JobState.FAILED, "nothing_to_measure")
    assert "1 queries" in record.job.detail
    assert record.run.figures is None


def test_a_run_says_what_changed_since_the_run_before(gallery, query, make_set, ask):
    video = gallery.add([like(query, 0.8)])
    made = make_set((TEXT, video))
    before = ask(made, rerank_depth=0)
    gallery.add([like(query, 0.9, seed=3)])

    after = ask(made, rerank_depth=0)

    change = after.run.figures["change"]
    assert (change["since"], change["measured"]) == (str(before.run.id), 1)
    assert change["streams"][0]["R@1"]["by"] == -100.0
    assert change["streams"][0]["MdR"]["by"] == 1.0


def test_a_run_names_the_generation_that_was_searched_when_it_started(
    *, gallery, query, make_set, sessions, sender, settings
):
    made = make_set((TEXT, gallery.add([like(query, 0.8)])))
    queued = request_run(sessions, sender, made.evaluation_set.id)
    old = gallery.generation

    def switch(session):
        session.get_one(Generation, old.generation_id).state = GenerationState.KEPT
        session.flush()
        session.add(Generation(model_version_id=old.model_version_id, state=GenerationState.ACTIVE))

    class SwitchedMeanwhile(Resources):
        @contextmanager
        def embedder(self, generation):
            with super().embedder(generation) as embedder:
                in_transaction(sessions, switch)
                yield embedder

    with SwitchedMeanwhile(settings) as resources:
        run_job(queued.job.id, evaluate, resources)

    with sessions() as session:
        record = get_run(session, queued.run.id)
    assert (record.job.state, record.run.generation_id) == (JobState.DONE, old.generation_id)


def test_delivering_a_run_twice_changes_nothing(gallery, query, make_set, ask, resources):
    made = make_set((TEXT, gallery.add([like(query, 0.8)])))
    record = ask(made, rerank_depth=0)

    run_job(record.job.id, evaluate, resources)

    again = get_job(resources.sessions, record.job.id)
    assert (again.state, again.fence) == (JobState.DONE, record.job.fence)


def test_a_worker_that_lost_its_job_writes_nothing(gallery, query, make_set, sessions, sender):
    made = make_set((TEXT, gallery.add([like(query, 0.8)])))
    queued = request_run(sessions, sender, made.evaluation_set.id)
    first = in_transaction(sessions, lambda s: claim_job(s, queued.job.id, lease_s=-1))
    in_transaction(sessions, lambda s: claim_job(s, queued.job.id, lease_s=60))

    with pytest.raises(LostLeaseError), sessions.begin() as session:
        commit_run(
            session,
            first.id,
            first.fence,
            generation_id=gallery.generation.generation_id,
            model_version_id=gallery.generation.model_version_id,
            figures={},
            answers={},
        )

    with sessions() as session:
        assert get_run(session, queued.run.id).run.figures is None


def test_a_run_that_waits_is_not_queued_twice(gallery, query, make_set, sessions, sender):
    made = make_set((TEXT, gallery.add([like(query, 0.8)])))

    first, second = (request_run(sessions, sender, made.evaluation_set.id) for _ in range(2))

    assert (first.run.id, first.job.id) == (second.run.id, second.job.id)
    with sessions() as session:
        assert session.query(Job).filter_by(subject_id=first.run.id).count() == 1


def test_a_switch_queues_a_run_of_the_newest_version_of_each_set(
    gallery, query, make_set, sessions, sender
):
    video = gallery.add([like(query, 0.8)])
    make_set((TEXT, video), name="one")
    newest = make_set((TEXT, video), (OTHER_TEXT, video), name="one")
    other = make_set(("the cat", video), name="two")
    waiting = request_run(sessions, sender, other.evaluation_set.id)

    with sessions.begin() as session:
        add_runs_after_switch(session, created_by=None)

    with sessions() as session:
        (run,) = runs_of(session, newest.evaluation_set.id, limit=5)
        assert (run.run.trigger, run.job.state) == (Trigger.SWITCH, JobState.QUEUED)
        (same,) = runs_of(session, other.evaluation_set.id, limit=5)
        assert same.run.id == waiting.run.id
        assert set(unsent_runs(session)) == {run.job.id, waiting.job.id}
        assert sorted(latest_texts(session, 10)) == sorted([TEXT, OTHER_TEXT, "the cat"])
        assert len(latest_texts(session, 2)) == 2


def test_a_clip_that_cannot_be_read_leaves_its_segment_behind_the_matched(
    *, gallery, query, make_set, ask
):
    gone = gallery.add([like(query, 0.9)])
    there = gallery.add([like(query, 0.8, seed=1)], has_clips=True)

    record = ask(make_set((TEXT, gone), (OTHER_TEXT, there)), rerank_depth=2)

    assert ranks(record)[0]["moment"] == 1
    assert ranks(record, "reranked")[0]["moment"] == 2
