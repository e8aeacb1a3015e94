"""evaluate(): run an evaluation set against what is searched now, as a search would."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray

from model.retrieval import RetrievalModel, clips_to_tensor
from service.catalog.evaluation_queries import queries_of
from service.catalog.evaluation_run_queries import commit_run, get_run, result_before, spans_of
from service.catalog.generation_queries import ActiveGeneration, active_generation
from service.catalog.index_queries import SegmentKey
from service.catalog.live_queries import live_segments
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import Job
from service.evaluations import Question, questions_of
from service.index.kinds import flat_kind
from service.index.loading import load_view
from service.index.view import IndexView
from service.search.clips import ClipStore
from service.search.moments import Candidate
from service.settings import Settings
from workers.evaluation_figures import Asking, Earlier, Outcome, sum_up
from workers.lease import Lease
from workers.ranking import Answered, Asked, Places, SpansOf, answer, deep_places, find_places
from workers.ranking import right_positions as find_right
from workers.resources import Resources
from workers.runner import WorkError

QUESTIONS_AT_ONCE = 32

log = structlog.get_logger(__name__)


def evaluate(job: Job, lease: Lease, resources: Resources) -> None:
    """Ask every query of a set, and keep where its right moment stood.

    The generation that is active when this starts is measured and named, even if another one
    takes over meanwhile.

    Raises:
        WorkError: no right moment of the set is in the index.
        UnavailableError: nothing is searched yet.
        BundleError: the bundle is not on this machine.
        JobStoppedError: the worker shuts down, or the job was taken away.
        LostLeaseError: another worker has the job; nothing was committed.
    """
    lease.report("loading", 0.0)
    plan = _load(job.subject_id, resources)
    if not plan.asking.asked:
        raise WorkError("nothing_to_measure", _why_nothing(plan.asking), is_final=True)
    with resources.embedder(plan.generation) as embedder:
        searcher = _Searcher(plan, embedder.network, resources)
        answered: list[Answered] = []
        for some in searcher.ask(plan.asking.asked, lease.check):
            answered.append(some)
            lease.report("searching", len(answered) / len(plan.asking.asked))
    lease.report("counting", 1.0)
    outcome = sum_up(plan.asking, answered, plan.earlier)
    lease.check()
    _commit(job, plan.generation, outcome, resources.sessions)
    log.info("set_evaluated", queries=len(answered), generation_id=str(plan.view.generation_id))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a run measures, and with what."""

    generation: ActiveGeneration
    view: IndexView
    asking: Asking
    earlier: Earlier | None


def _load(run_id: UUID, resources: Resources) -> _Plan:
    settings = resources.settings
    with resources.reads() as session:
        record = get_run(session, run_id)
        generation = active_generation(session)
        view = load_view(
            session, generation, kind=flat_kind(settings.index_kind)
        )  # exact, as if nothing were near
        questions = questions_of(queries_of(session, record.run.set_id))
        video_ids = {moment.video_id for one in questions for moment in one.moments}
        spans: SpansOf = {}
        for span in spans_of(session, video_ids):
            spans.setdefault(span.video_id, []).append((span.ordinal, span.start_s, span.end_s))
        before = result_before(session, record.run)
    asking = _asking(questions, view, spans, settings)
    earlier = Earlier.of(before) if before is not None else None
    return _Plan(generation=generation, view=view, asking=asking, earlier=earlier)


def _asking(
    questions: Sequence[Question], view: IndexView, spans: SpansOf, settings: Settings
) -> Asking:
    there = [question for question in questions if not question.is_gone]
    asked = [found for one in there if (found := find_right(one, view.base.keys, spans))]
    return Asking(
        asked=asked,
        num_queries=len(questions),
        num_gone=len(questions) - len(there),
        num_segments=len(view.base),
        num_videos=len(view.base.keys.seqs),
        rerank_depth=settings.rerank_depth,
    )


def _why_nothing(asking: Asking) -> str:
    return (
        f"None of the {asking.num_queries} queries could be measured: of {asking.num_gone} the "
        "video was deleted, and the right moments of the others are not in the index (yet)."
    )


def _commit(job: Job, generation: ActiveGeneration, outcome: Outcome, sessions: Sessions) -> None:
    in_transaction(
        sessions,
        lambda session: commit_run(
            session,
            job.id,
            job.fence,
            generation_id=generation.generation_id,
            model_version_id=generation.model_version_id,
            figures=outcome.figures,
            answers=outcome.answers,
        ),
    )


class _Searcher:
    """Search one view with the network that made it, and say where right answers stand."""

    def __init__(self, plan: _Plan, network: RetrievalModel, resources: Resources) -> None:
        settings = resources.settings
        self._view, self._network = plan.view, network
        self._reads = resources.reads
        self._candidates = max(settings.search_candidates, settings.rerank_depth)
        self._matcher: _Matcher | None = None
        if network.spec.has_matcher and settings.rerank_depth:
            self._matcher = _Matcher(network, ClipStore(resources.storage), settings)

    def ask(self, asked: Sequence[Asked], check: Callable[[], None]) -> Iterator[Answered]:
        """Answer questions, some at a time; `check` may stop it before each."""
        for start in range(0, len(asked), QUESTIONS_AT_ONCE):
            some = asked[start : start + QUESTIONS_AT_ONCE]
            tokens = self._network.tokenize([one.question.text for one in some])
            queries: NDArray[np.float32] = self._network.embed_text(tokens).numpy()  # (Q, E)
            found = [self._search(query) for query in queries]
            below = self._count_below(queries, some, found)
            for place, (one, candidates) in enumerate(zip(some, found, strict=True)):
                check()
                yield answer(one, candidates, self._matcher, below.get(place))

    def _count_below(
        self,
        queries: NDArray[np.float32],
        asked: Sequence[Asked],
        found: Sequence[list[Candidate]],
    ) -> dict[int, Places]:
        """Return, by its number, where the right answer of each question stands that found none."""
        missed = [
            place
            for place, (candidates, one) in enumerate(zip(found, asked, strict=True))
            if find_places(candidates, one)[0] is None
        ]
        if not missed:
            return {}
        right = [asked[place].positions for place in missed]
        counted = deep_places(self._view.base, queries[missed], right)
        return dict(zip(missed, counted, strict=True))

    def _search(self, query: NDArray[np.float32]) -> list[Candidate]:
        """Return what a search finds by similarity, best first."""
        hits = self._view.search(query, self._candidates)
        with self._reads() as session:
            keys = [SegmentKey(hit.video_id, hit.ordinal) for hit in hits]
            segments = live_segments(session, keys, self._view.generation_id)
        live: list[Candidate] = []
        for hit, segment in zip(hits, segments, strict=True):
            if segment is not None and segment.video_version == hit.version:  # else deleted since
                live.append(Candidate(hit=hit, segment=segment, place=len(live) + 1))
        return live


class _Matcher:
    """Match a text with the stored clips of the best candidates."""

    def __init__(self, network: RetrievalModel, clips: ClipStore, settings: Settings) -> None:
        self._network, self._clips = network, clips
        self._depth, self._batch = settings.rerank_depth, settings.embed_batch
        spec = network.spec
        self._shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)

    def __call__(self, text: str, candidates: list[Candidate]) -> list[Candidate]:
        """Return the candidates, the best of them with their match."""
        again = list(candidates)
        read = [
            (place, clip)
            for place, one in enumerate(candidates[: self._depth])
            if (clip := self._clips.read(one.segment)) is not None and clip.shape == self._shape
        ]
        for start in range(0, len(read), self._batch):
            some = read[start : start + self._batch]
            tokens = self._network.tokenize([text] * len(some))
            log_odds = self._network.match(tokens, clips_to_tensor([clip for _place, clip in some]))
            for (place, _clip), value in zip(some, log_odds.tolist(), strict=True):
                again[place] = self._matched(again[place], value)
        return again

    def _matched(self, candidate: Candidate, log_odds: float) -> Candidate:
        score = self._network.spec.rerank_score(
            similarity=candidate.hit.similarity, log_odds=log_odds
        )
        return replace(candidate, log_odds=log_odds, rerank_score=score)
