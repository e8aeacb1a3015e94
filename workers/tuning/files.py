"""What the worker writes into the folder of a run before its process starts, and while it runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from service.catalog import tuning_queries
from service.catalog.tables import Job
from service.catalog.tuning_queries import BaseVersion, PairRow, TuningRecord
from service.durable import make_durable_folder, sync_folder
from service.registry import Registry
from workers.resources import Resources
from workers.runner import WorkError
from workers.tuning.folder import (
    FOOTAGE,
    FORGOTTEN,
    PAIRS,
    PLAN,
    PairLine,
    TuningPlan,
    forget,
    read_forgotten,
    read_pair_lines,
    write_pairs,
    write_plan,
)
from workers.tuning.gallery import write_live_gallery
from workers.tuning.request import choices_of


class RunFolder:
    """The folder of one run.

    Attributes:
        path: the folder.
        steps_kept: of the newest checkpoint when the folder was opened; 0: none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps_kept = max(
            (int(each.name.removeprefix("step-")) for each in path.glob("run/step-*[0-9]")),
            default=0,
        )
        self._known = {line.ordinal for line in read_pair_lines(path)} - read_forgotten(path)

    @property
    def num_pairs(self) -> int:
        """How many pairs may still be used."""
        return len(self._known)

    def forget_all_but(self, ordinals: set[int]) -> int:
        """Tell the process of pairs that were deleted since; return how many those are."""
        gone = sorted(self._known - ordinals)
        if gone:
            forget(self.path, gone)
            _sync(self.path / FORGOTTEN)
            self._known -= set(gone)
        return len(gone)


def open_folder(job: Job, resources: Resources) -> RunFolder:
    """Return the folder of a run; the first attempt writes it, later ones go on in it.

    Raises:
        WorkError: the model that it starts from is gone.
    """
    path = resources.storage.tuning_folder(job.subject_id)
    if not (path / PLAN).exists():
        _write(path, job, resources)
    folder = RunFolder(path)
    with resources.reads() as session:
        left = tuning_queries.ordinals_of(session, job.subject_id)
    folder.forget_all_but(left)
    return folder


def _write(path: Path, job: Job, resources: Resources) -> None:
    """Write pairs and plan; the plan last, and by a rename: it says that all is there."""
    with resources.reads() as session:
        record = tuning_queries.get_tuning(session, job.subject_id)
        base = tuning_queries.find_base_version(session, record.tuning.base_version_id)
        pairs = tuning_queries.pairs_of(session, job.subject_id)
    plan = _plan_of(record, base, resources)
    make_durable_folder(path)
    groups = _groups((record.tuning.plan or {}).get("duplicates", []))
    write_pairs(path, [_line(row, path, groups, resources) for row in pairs])
    _sync(path / PAIRS)
    write_live_gallery(
        path,
        reads=resources.reads,
        storage=resources.storage,
        held_out={row.pair.video_id for row in pairs if row.pair.is_held_out},
        seed=plan.choices.seed,
    )
    draft = path / "draft"
    draft.mkdir(exist_ok=True)
    write_plan(draft, plan)
    _sync(draft / PLAN)
    (draft / PLAN).rename(path / PLAN)
    draft.rmdir()
    sync_folder(path)


def _plan_of(record: TuningRecord, base: BaseVersion, resources: Resources) -> TuningPlan:
    settings, request = resources.settings, record.tuning.request
    registry = Registry(settings.data_dir)
    folder = registry.locate(digest=base.bundle_digest, registered=base.bundle_path)
    if folder is None:
        raise WorkError(
            "bundle_missing",
            f"The bundle of the model {base.name!r} is not in {base.bundle_path} any more; put it "
            "back and start the tuning again.",
            is_final=True,
        )
    return TuningPlan(
        base=folder.absolute(),
        base_digest=base.bundle_digest,
        name=request.get("name") or f"tuned from {base.name}",
        choices=choices_of(request),
        hold_out=request["hold_out"],
        device=settings.device,
        checkpoint_every_s=settings.tuning_checkpoint_s,
    )


def _line(row: PairRow, folder: Path, groups: Mapping[UUID, int], resources: Resources) -> PairLine:
    pair = row.pair
    return PairLine(
        ordinal=pair.ordinal,
        origin=str(pair.origin),
        origin_id=str(pair.origin_id),
        video_id=str(pair.video_id),
        path=resources.storage.stay_blob(row.sha256, folder / FOOTAGE).absolute(),
        text=pair.text,
        start_s=pair.start_s,
        end_s=pair.end_s,
        is_held_out=pair.is_held_out,
        is_negative=pair.is_negative,
        group=groups.get(pair.video_id),
    )


def _groups(duplicates: Sequence[Sequence[str]]) -> dict[UUID, int]:
    return {UUID(video_id): number for number, group in enumerate(duplicates) for video_id in group}


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
