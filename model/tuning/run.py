"""One tuning run: decode what it learns from, train with checkpoints, save a bundle.

It may be killed at any moment; started again, it goes on from its newest checkpoint to the same
numbers as if it had not been.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch

from model.bundle import load_trainable
from model.bundle_files import bundle_digest
from model.checkpoints import Checkpoint, CheckpointError, Checkpoints
from model.clip_store import ClipStore
from model.distributed import Processes, share_object
from model.pair_batches import PairBatches
from model.pairs import VideoPair
from model.train import OutOfMemoryError, Training
from model.tuning import network as tuning_network
from model.tuning.choices import Choices, OtherRunError, TuningError, plan_for
from model.tuning.data import RunData, check_data, read_data
from model.tuning.listener import Listener, Prepared, Tuned
from model.tuning.loop import Loop
from model.tuning.network import AnyRecipe

Resuming = Literal["no", "yes", "if_any"]
TOO_LARGE = "too-large.json"
"""Written by a process among several that ran out of memory: how many rows did not fit."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders of a run.

    Attributes:
        out: the new bundle.
        work: checkpoints.
        clips: decoded clips.
    """

    out: Path
    work: Path
    clips: Path


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as it was asked for.

    Attributes:
        source: folder of the bundle to start from.
        pairs: clips and captions.
        places: where everything is.
        name: of the new bundle, for its card.
        choices: what a person chose.
        device: where the network is trained.
        save_every_s: how often a checkpoint is written, seconds.
        forgotten: tells which captions were taken back, by their ordinals; asked at each step.
        kept_too: pairs that are not trained on, but whose clips stay.
    """

    source: Path
    pairs: Sequence[VideoPair]
    places: Places
    name: str
    choices: Choices
    device: torch.device
    save_every_s: float
    forgotten: Callable[[], frozenset[int]] = field(default=frozenset)
    kept_too: Sequence[VideoPair] = ()

    def tune(self, processes: Processes, listener: Listener, *, resume: Resuming) -> Tuned:
        """Prepare, train, save; or be stopped.

        Raises:
            BundleError: the source is damaged, or of a family that is not trained here.
            TuningError: there is nothing to resume, or another run, or too few pairs.
            TrainingError: gradients are not finite, or memory holds too little.
        """
        origin = bundle_digest(self.source)
        before = load_trainable(self.source)
        checkpoints = Checkpoints(self.places.work, self._settings(origin))
        found = self._find(checkpoints, processes, listener, resume)
        store = ClipStore(self.places.clips, before.preprocessing)
        data = self._open_data(found, store, processes, listener)
        bundle, new_words = tuning_network.grow(before, data.captions, self.choices)
        width: int = cast("Any", bundle.dims).width
        plan, batch = plan_for(
            len(data.usable), self.choices, width=width, processes=processes.count
        )
        training, objectives = tuning_network.start(bundle, plan, self.choices, self.device)
        self._take_up(training, found, processes, listener)
        loop = Loop(
            training=training,
            batches=PairBatches(data.usable, store, batch, self.choices.seed, processes),
            tokenizer=bundle.tokenizer,
            word_dropout=self.choices.word_dropout,
            checkpoints=checkpoints,
            facts=data.facts,
            save_every_s=self.save_every_s,
            forgotten=self.forgotten,
            kept_too=self.kept_too,
            processes=processes,
            listener=listener,
        )
        prepared = _prepared(data, training, batch, new_words)
        self._train(loop, prepared, is_new=found is None)
        digest = None
        if loop.is_done and processes.is_first:
            tuning_network.finish(training, bundle, store, self._left(data.usable))
            facts = self._facts(prepared, asdict(objectives))
            digest = tuning_network.save(
                self.places.out, training, bundle,
                source=self.source, before=before, name=self.name, facts=facts,
            )  # fmt: skip
        return Tuned(
            folder=self.places.out,
            digest=share_object(digest),
            steps=training.step,
            num_pairs=len(data.usable),
            left_out=data.left_out,
            new_words=new_words,
            wait_share=training.wait_share,
        )

    def _train(self, loop: Loop, prepared: Prepared, *, is_new: bool) -> None:
        """Train; among several processes none can shrink its parts alone: it leaves word."""
        if loop.processes.is_first:
            loop.listener.prepared(prepared)
        if is_new:
            loop.save()
        try:
            loop.train()
        except OutOfMemoryError as error:
            if loop.processes.count > 1 and error.rows > 1:
                note = json.dumps({"rows": error.rows})
                (self.places.work / TOO_LARGE).write_text(note, encoding="utf-8")
            raise

    def _left(self, pairs: Sequence[VideoPair]) -> list[VideoPair]:
        """Return the pairs without the captions that were taken back."""
        forgotten = self.forgotten()
        kept = [pair.without(forgotten) for pair in pairs]
        return [pair for pair in kept if pair.captions]

    def _facts(self, prepared: Prepared, objectives: dict[str, Any]) -> dict[str, Any]:
        """Return what the card of the new bundle says of the run."""
        return {
            "data": {
                "pairs": prepared.clips,
                "left_out": prepared.left_out,
                "new_words": prepared.new_words,
                "batch": prepared.batch,
            },
            "recipe": self.choices.recipe,
            "word_dropout": self.choices.word_dropout,
            "objectives": objectives,
        }

    def _settings(self, origin: str) -> dict[str, Any]:
        """Return all that the numbers of a run depend on."""
        told = [(p.path.name, p.captions, p.start_s, p.end_s, p.ordinals) for p in self.pairs]
        pairs = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return {"source": origin, "pairs": pairs, "choices": asdict(self.choices)}

    def _find(
        self, checkpoints: Checkpoints, processes: Processes, listener: Listener, resume: Resuming
    ) -> Checkpoint | None:
        """Find where to go on; None: begin. The first process decides for all."""
        found: Checkpoint | TuningError | None = None
        if processes.is_first:
            try:
                found = self._find_here(checkpoints, listener, resume)
                self.places.work.mkdir(parents=True, exist_ok=True)
            except TuningError as error:
                found = error
        found = share_object(found)
        if isinstance(found, TuningError):
            raise found
        return found

    def _find_here(
        self, checkpoints: Checkpoints, listener: Listener, resume: Resuming
    ) -> Checkpoint | None:
        work = self.places.work
        if resume == "no" and not checkpoints.is_empty:
            raise OtherRunError(
                f"{work} holds a run that was interrupted: go on with it by --resume, or remove "
                "that folder to start anew"
            )
        try:
            found = checkpoints.newest(lambda said: listener.noticed("checkpoint_damaged", said))
        except CheckpointError as error:
            raise OtherRunError(str(error)) from error
        if found is None and resume == "yes":
            raise OtherRunError(f"{work} holds no run that could be resumed")
        return found

    def _open_data(
        self, found: Checkpoint | None, store: ClipStore, processes: Processes, listener: Listener
    ) -> RunData:
        """Decode all clips, in the first process, or read what an earlier one found out."""
        if found is not None:
            return read_data(self.pairs, found.facts)
        facts = None
        if processes.is_first:
            facts = check_data(self.pairs, self.forgotten(), store, listener.checked)
        data = read_data(self.pairs, share_object(facts))
        if processes.is_first:
            for one in data.left_out:
                listener.left_out(one)
        return data

    def _take_up(
        self,
        training: Training[AnyRecipe],
        found: Checkpoint | None,
        processes: Processes,
        listener: Listener,
    ) -> None:
        """Continue from a checkpoint, with no more rows at a time than fitted."""
        if found is not None:
            training.load(found.state)
            training.micro_batch = found.facts["micro_batch"]
        path, rows = self.places.work / TOO_LARGE, None
        if processes.is_first and path.exists():
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        rows = share_object(rows)
        most = max(1, rows // 2) if rows is not None else None
        if most is not None and most < (training.micro_batch or most + 1):
            training.micro_batch = most
            if processes.is_first:
                listener.noticed(
                    "micro_batch_halved",
                    f"Memory did not suffice for {rows} clips of a process at a time: from step "
                    f"{training.step + 1} on it is {most}. The result is the same; it takes "
                    "longer.",
                )


def _prepared(data: RunData, training: Training[AnyRecipe], batch: int, new_words: int) -> Prepared:
    return Prepared(
        steps=training.plan.steps,
        batch=batch,
        clips=len(data.usable),
        captions=sum(len(pair.captions) for pair in data.usable),
        left_out=len(data.left_out),
        new_words=new_words,
        first_step=training.step,
    )
