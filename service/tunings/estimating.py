"""What a tuning run would take: measured by a step on the real network, in its own process."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from service.errors import ConflictError, UnavailableError
from service.settings import Settings
from service.storage import Storage
from service.tunings.requesting import Prepared

MODULE = "workers.tuning.dry_run"
"""Named, not imported: the API knows no worker."""
REPOSITORY = Path(__file__).parents[2]
TIME_LIMIT_S = 110.0
TAIL = 2000
FETCHED = 4
"""Videos that are brought from a remote store to see how long decoding takes."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would take on this machine.

    Attributes:
        steps: in all.
        batch: pairs a step.
        seconds: for all steps.
        memory_bytes: of the device, or of the process on a CPU.
        decode_s: for decoding the clips, once, before the first step.
    """

    steps: int
    batch: int
    seconds: float
    memory_bytes: int
    decode_s: float


def estimate(prepared: Prepared, storage: Storage, settings: Settings) -> Estimate:
    """Measure a step of a run that is not started.

    Args:
        prepared: the run.
        storage: where the videos are.
        settings: device and threads.

    Raises:
        ConflictError: the run would fail; the detail says why.
        UnavailableError: it took too long, as on a machine that is busy.
    """
    threads = str(settings.torch_threads)
    try:
        # in the staging folder, where copies of stored files can be linked
        with tempfile.TemporaryDirectory(prefix="estimate-", dir=storage.staging) as folder:
            done = subprocess.run(  # noqa: S603 (our own module)
                [sys.executable, "-m", MODULE, folder],
                input=json.dumps(_describe(prepared, storage, settings, Path(folder))),
                capture_output=True,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, **({"OMP_NUM_THREADS": threads} if threads != "0" else {})},
                timeout=TIME_LIMIT_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"Measuring a step took longer than {TIME_LIMIT_S:.0f} s; try again when less is "
            "going on, or start the run without.",
            reason="estimate_timed_out",
            retry_after_s=60,
        ) from None
    answer = _last_line(done.stdout)
    if "reason" in answer:
        raise ConflictError(str(answer["detail"]), reason=str(answer["reason"]))
    if done.returncode or "steps" not in answer:
        log.error("estimate_failed", status=done.returncode, stderr=done.stderr[-TAIL:])
        raise ConflictError(
            "A step could not be measured; the log of the API says more.", reason="estimate_failed"
        )
    return Estimate(
        steps=int(answer["steps"]),
        batch=int(answer["batch"]),
        seconds=float(answer["seconds"]),
        memory_bytes=int(answer["memory_bytes"]),
        decode_s=float(answer["decode_s"]),
    )


def _describe(
    prepared: Prepared, storage: Storage, settings: Settings, folder: Path
) -> Mapping[str, Any]:
    contents = sorted({pair.sha256 for pair, _ in prepared.pairs})
    if storage.store.is_remote:  # some of them say how long decoding takes
        contents = random.Random(0).sample(contents, min(FETCHED, len(contents)))  # noqa: S311 (no secret)
    footage = folder / "footage"
    paths = {sha256: storage.stay_blob(sha256, footage).absolute() for sha256 in contents}
    return {
        "base": str(prepared.folder),
        "base_digest": prepared.base.bundle_digest,
        "choices": dict(prepared.request.choices),
        "device": settings.device,
        "pairs": [
            {
                "ordinal": ordinal,
                "origin": pair.origin,
                "origin_id": str(pair.origin_id),
                "video_id": str(pair.video_id),
                "path": str(paths.get(pair.sha256, footage / pair.sha256)),
                "text": pair.text,
                "start_s": pair.start_s,
                "end_s": pair.end_s,
                "is_held_out": is_held_out,
                "is_negative": pair.is_negative,
            }
            for ordinal, (pair, is_held_out) in enumerate(prepared.pairs)
        ],
    }


def _last_line(printed: str) -> Mapping[str, Any]:
    for line in reversed(printed.splitlines()):
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict):
            return answer
    return {}
