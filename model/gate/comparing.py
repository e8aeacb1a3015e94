"""The gate: is the candidate better than the base model, on pairs that it was not trained on?

Both are asked the same held-out texts, among the held-out clips and, if it is given, among the
segments of the running index. The answers of the candidate give its match probabilities.
Shapes: N texts, M segments.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import load_bundle
from model.bundle_checks import Precision
from model.calibration import CalibrationError, Flags, Judged, calibrate
from model.clip_store import ClipStore
from model.gate.gallery import GalleryError, LiveGallery, Shelf, open_shelf, refuse
from model.gate.pairs import HeldOut, HeldOutPair, gather, store_for
from model.gate.progress import Parts
from model.gate.report import (
    AS_SEARCHED,
    BY_SIMILARITY,
    Rankings,
    Spot,
    Verdict,
    final,
    judge,
    nothing_held_out,
    queries,
    rows,
)
from model.gate.search import Answers, ask
from model.measure import Progress, measure, no_progress
from model.metrics import Ints
from model.report import DIRECTIONS, Report
from model.resealing import finish_change
from model.retrieval import Calibration, RetrievalModel

BASE, CANDIDATE = "base model", "candidate"


@dataclass(frozen=True)
class Comparison:
    """What the gate found.

    Attributes:
        report: anything JSON can hold; docs/evaluation.md says what.
        calibration: of the candidate, for `model.calibration.write_calibration`; None if it could
            not be fitted.
    """

    report: dict[str, Any]
    calibration: Calibration | None

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `no_difference` or `not_enough_to_tell`."""
        return str(self.report["verdict"])


def compare_bundles(
    base: Path,
    candidate: Path,
    held_out: Sequence[HeldOutPair],
    *,
    clips: Path,
    device: str = "cpu",
    gallery: LiveGallery | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare two bundles on held-out pairs.

    Args:
        base: bundle that is compared with.
        candidate: bundle that is judged, of which nobody else reads yet; a calibration that it
            has already is not looked at.
        held_out: texts and their moments.
        clips: folder where decoded clips are kept, that of the training run if there is one.
        device: `cpu` or a CUDA device.
        gallery: segments of the running index; None if there are none.
        seed: draws what is drawn.
        progress: told (what, how far, 1000); it never goes back.

    Raises:
        BundleError: one of the bundles is damaged.
        ValueError: a model gave NaN or infinity.
    """
    began = time.monotonic()
    finish_change(candidate)
    clips.mkdir(parents=True, exist_ok=True)
    precision: Precision = "float32" if device == "cpu" else "auto"  # always the same numbers
    models = {
        BASE: load_bundle(base, device=device, precision=precision),
        CANDIDATE: load_bundle(candidate, device=device, precision=precision),
    }
    gate = _Gate(models, clips, Parts(progress), [], seed)
    report, calibration = gate.compare(held_out, gallery)
    report["took_s"] = round(time.monotonic() - began, 1)
    return Comparison(report, calibration)


@dataclass(frozen=True)
class _Live:
    """The held-out texts that have an answer in the live gallery.

    Attributes:
        shelf: its segments M.
        kept: which texts, (N',).
        is_right: which segments answer them, (N', M).
        is_own: which segments are of their videos, (N', M).
    """

    shelf: Shelf
    kept: Ints
    is_right: Flags
    is_own: Flags


@dataclass(frozen=True)
class _Gate:
    """One comparison: both models by name, and where it works."""

    models: Mapping[str, RetrievalModel]
    folder: Path
    parts: Parts
    notes: list[str]
    seed: int

    def compare(
        self, held_out: Sequence[HeldOutPair], gallery: LiveGallery | None
    ) -> tuple[dict[str, Any], Calibration | None]:
        """Ask both models and put their answers side by side."""
        stores = {name: store_for(model.spec, self.folder) for name, model in self.models.items()}
        distinct = list({store.preprocessing: store for store in stores.values()}.values())
        asked = gather(held_out, distinct, seed=self.seed, progress=self.parts.begin(0.0, 0.1))
        if not asked.pairs:
            return _report(asked, nothing_held_out(), notes=self.notes), None
        if len(asked.pairs) < asked.num_asked:
            self.notes.append(
                f"Of {asked.num_asked:,} held-out texts {len(asked.pairs):,} were compared on."
            )
        found = self._ask_held_out(asked, stores)
        live = self._open_live(gallery, asked)
        answers = self._ask_live(asked, live)
        judged = self._judged(asked, answers, stores[CANDIDATE])
        fitted = None
        try:
            fitted = None if judged is None else calibrate(judged, seed=self.seed)
        except CalibrationError as error:
            self.notes.append(f"Match probabilities were not fitted: {error}.")
        before, after = final(found[BASE]), final(found[CANDIDATE])
        report = _report(asked, judge(asked, before, after), notes=self.notes)
        report["held_out"]["streams"] = rows(found[BASE], found[CANDIDATE])
        if before is not None and after is not None:
            report["held_out"]["queries"] = queries(asked, before, after)
        if live is not None:
            report["gallery"] = _gallery_report(live, answers)
        if fitted is not None:
            where = "held_out" if live is None else "gallery"
            report["calibration"] = {**fitted.to_json(), "fitted_on": where}
        return report, None if fitted is None else fitted.calibration

    def _ask_held_out(self, asked: HeldOut, stores: Mapping[str, ClipStore]) -> dict[str, Rankings]:
        """Search the held-out clips with each model, both ways."""
        found: dict[str, Rankings] = {}
        for place, (name, model) in enumerate(self.models.items()):
            progress = self.parts.begin(0.1 + 0.2 * place, 0.3 + 0.2 * place)
            if not model.spec.has_retriever:
                self.notes.append(f"The {name} has no joint space: it cannot search by itself.")
                found[name] = {}
                continue
            if not model.spec.has_matcher:
                self.notes.append(f"The {name} has no matcher: it is judged by its dual stream.")
            gallery = asked.gallery(stores[name], self.folder)
            found[name] = _rankings(measure(model, gallery, progress=progress))
        return found

    def _open_live(self, gallery: LiveGallery | None, asked: HeldOut) -> _Live | None:
        """Find the texts' answers in the live gallery; say why if it cannot be searched."""
        if gallery is None:
            self.notes.append("There was no live gallery to compare on.")
            return None
        for name, model in self.models.items():
            reason = refuse(gallery.cut, model.spec)
            if reason is not None:
                self.notes.append(f"The live gallery was left out: for the {name}, {reason}.")
                return None
        try:
            shelf = open_shelf(gallery, self.folder)
        except GalleryError as error:
            self.notes.append(f"The live gallery was left out: {error}.")
            return None
        is_right, is_own = shelf.answers(asked.pairs)
        kept = np.flatnonzero(is_right.any(axis=1))
        if not len(kept):
            self.notes.append("The live gallery was left out: it shows none of the moments asked.")
            return None
        return _Live(shelf, kept, is_right[kept], is_own[kept])

    def _ask_live(self, asked: HeldOut, live: _Live | None) -> dict[str, Answers]:
        """Search the live gallery with each model that can."""
        if live is None:
            return {}
        return {
            name: ask(
                model,
                live.shelf.clips_for(model.spec),
                texts=[asked.pairs[place].text for place in live.kept],
                is_right=live.is_right,
                is_own=live.is_own,
                groups=asked.text_groups[live.kept],
                progress=self.parts.begin(0.5 + 0.2 * place, 0.7 + 0.2 * place),
                is_judged=name == CANDIDATE,
            )
            for place, (name, model) in enumerate(self.models.items())
            if model.spec.has_retriever
        }

    def _judged(
        self, asked: HeldOut, answers: Mapping[str, Answers], store: ClipStore
    ) -> Judged | None:
        """Return what probabilities are fitted on: held-out clips, without a live gallery."""
        model = self.models[CANDIDATE]
        if not (model.spec.has_retriever and model.spec.has_matcher):
            return None
        if CANDIDATE in answers:
            return answers[CANDIDATE].judged
        places = np.arange(len(asked.clips))
        videos = np.array([clip.video_id for clip in asked.clips])
        found = ask(
            model,
            asked.gallery(store, self.folder).clips,
            texts=asked.texts,
            is_right=asked.owners[:, None] == places,
            is_own=videos[asked.owners][:, None] == videos,
            groups=asked.text_groups,
            progress=self.parts.begin(0.7, 1.0),
            is_judged=True,
        )
        return found.judged


def _rankings(report: Report) -> Rankings:
    return {
        Spot(stream.kind, direction): stream.figures(direction).ranking
        for stream in report.streams
        for direction in DIRECTIONS
    }


def _report(asked: HeldOut, verdict: Verdict, *, notes: Sequence[str]) -> dict[str, Any]:
    """Return a report without figures."""
    return {
        "verdict": verdict.outcome,
        "why": verdict.why,
        "held_out": {
            "texts": len(asked.pairs),
            "videos": asked.num_videos,
            "streams": [],
            "queries": [],
        },
        "gallery": None,
        "calibration": None,
        "left_out": [{"video_id": video, "reason": why} for video, why in asked.left_out],
        "notes": notes,
    }


def _gallery_report(live: _Live, answers: Mapping[str, Answers]) -> dict[str, Any]:
    base, candidate = (_live_rankings(answers.get(name)) for name in (BASE, CANDIDATE))
    return {
        "texts": len(live.kept),
        "segments": len(live.shelf.segments),
        "streams": rows(base, candidate),
    }


def _live_rankings(answers: Answers | None) -> Rankings:
    if answers is None:
        return {}
    if answers.reranked is None:
        return {BY_SIMILARITY: answers.dual_stream}
    return {BY_SIMILARITY: answers.dual_stream, AS_SEARCHED: answers.reranked}
