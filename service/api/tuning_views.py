"""Tuning runs as clients see them."""

from uuid import UUID

from service.api.tuning_schemas import (
    NoticeOut,
    PointOut,
    TuningLinks,
    TuningOut,
    TuningProgress,
    VersionRef,
)
from service.catalog.tables import JobState
from service.catalog.tuning_queries import TuningRecord
from service.catalog.tuning_tables import TuningNotice, TuningPoint

TRAINING = "training"


def links_of(tuning_id: UUID, job_id: UUID) -> TuningLinks:
    """Return where to look next."""
    own = f"/v1/tunings/{tuning_id}"
    return TuningLinks(
        self=own, job=f"/v1/jobs/{job_id}", events=f"{own}/events", cancel=f"{own}/cancel"
    )


def progress_out(record: TuningRecord, eta_s: float | None) -> TuningProgress:
    """Describe how far a run is.

    Args:
        record: the run.
        eta_s: of its newest point, if there is one.
    """
    tuning, job = record.tuning, record.job
    candidate = None
    if tuning.candidate_version_id is not None and record.candidate_name is not None:
        candidate = VersionRef(id=tuning.candidate_version_id, name=record.candidate_name)
    is_running = job.state is JobState.RUNNING
    return TuningProgress(
        id=tuning.id,
        job_id=job.id,
        state=job.state,
        stage=job.stage if is_running else None,
        percent=100.0 if job.state is JobState.DONE else round(100 * job.progress, 1),
        eta_s=eta_s if is_running and job.stage == TRAINING else None,
        base_version=VersionRef(id=tuning.base_version_id, name=record.base_name),
        candidate_version=candidate,
        reason=job.reason,
        detail=job.detail,
        created_at=tuning.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def tuning_out(record: TuningRecord, eta_s: float | None) -> TuningOut:
    """Describe a run."""
    return TuningOut(
        **dict(progress_out(record, eta_s)),
        request=record.tuning.request,
        plan=record.tuning.plan,
        report=record.tuning.report,
        links=links_of(record.tuning.id, record.job.id),
    )


def point_out(point: TuningPoint) -> PointOut:
    """Describe the losses of a step."""
    return PointOut(step=point.step, **point.values)


def notice_out(notice: TuningNotice) -> NoticeOut:
    """Describe a notice."""
    return NoticeOut(at=notice.created_at, reason=notice.reason, text=notice.text)
