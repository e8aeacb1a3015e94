"""The steps of a tuning run, and what interrupts them: a stop, a due checkpoint, a deletion."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from safetensors import SafetensorError
from tokenizers import Tokenizer

from model.checkpoints import Checkpoints
from model.data import Batch
from model.distributed import Processes, are_any, share_object
from model.pair_batches import PairBatches
from model.pairs import VideoPair
from model.stopping import stop_requests
from model.train import Step, Training
from model.tuning.choices import TooFewPairsError
from model.tuning.listener import Listener
from model.tuning.network import AnyRecipe
from model.word_dropout import WordDropout, leave_out_words

FEWEST = 2
"""One clip and another to tell it from."""


@dataclass(kw_only=True)
class Loop:
    """Trains with checkpoints; every process has its own, the first one writes and tells.

    Attributes:
        training: what is trained.
        batches: what it learns from.
        tokenizer: of the texts.
        word_dropout: largest share of words that a text may lose.
        checkpoints: where they are written.
        facts: what each of them keeps beside the state.
        save_every_s: how often, seconds.
        forgotten: tells which captions were taken back; asked at each step.
        kept_too: pairs that are not trained on, but whose clips stay.
        processes: which one this is.
        listener: who is told.
    """

    training: Training[AnyRecipe]
    batches: PairBatches
    tokenizer: Tokenizer
    word_dropout: float
    checkpoints: Checkpoints
    facts: dict[str, Any]
    save_every_s: float
    forgotten: Callable[[], frozenset[int]]
    kept_too: Sequence[VideoPair]
    processes: Processes
    listener: Listener
    _saved_s: float = field(default_factory=time.monotonic)
    _is_stopped: bool = False

    def train(self) -> None:
        """Take steps to the end or until asked to stop; stopped, leave a checkpoint.

        Raises:
            TooFewPairsError: after deletions.
            TrainingError: see `Training.run`.
        """
        with stop_requests() as request:
            while not self._is_stopped and not self.is_done:
                self._forget()
                self._train_until_interrupted(lambda: request.is_made)
        if not self.is_done:
            self.save()

    @property
    def is_done(self) -> bool:
        """Whether all steps were taken."""
        return self.training.step >= self.training.plan.steps

    def save(self) -> None:
        """Write a checkpoint, in the first process; a disk that refuses it does not end the run."""
        self._saved_s = time.monotonic()
        if not self.processes.is_first:
            return
        facts = {**self.facts, "micro_batch": self.training.micro_batch}
        step = self.training.step
        try:
            self.checkpoints.save(step, self.training.save, facts)
        except (OSError, SafetensorError) as error:
            self.listener.noticed(
                "checkpoint_failed",
                f"No checkpoint could be written after step {step}: {error}. Training goes on; "
                "a kill would lose all steps since the one before.",
            )
        else:
            self.listener.saved(step)

    def _train_until_interrupted(self, is_asked_to_stop: Callable[[], bool]) -> None:
        rows = self.training.micro_batch
        with closing(self._source()) as source:
            for step in self.training.run(source):
                if self.processes.is_first:
                    self._tell(step, is_halved=self.training.micro_batch != rows)
                rows = self.training.micro_batch
                is_due = time.monotonic() - self._saved_s > self.save_every_s
                has_less = self.processes.is_first and self.forgotten() != self.batches.forgotten
                flags = [is_asked_to_stop(), has_less, is_due]
                self._is_stopped, has_less, is_due = are_any(flags, self.training.device)
                if self._is_stopped or has_less:
                    return
                if is_due and not self.is_done:
                    self.save()

    def _source(self) -> Generator[Batch, None, None]:
        first = self.training.step
        source = self.batches.batches(self.tokenizer, first=first)
        if not self.word_dropout:
            return source
        dropout = WordDropout(self.tokenizer, most=self.word_dropout)
        return leave_out_words(source, dropout, seed=self.batches.seed, first=first)

    def _tell(self, step: Step, *, is_halved: bool) -> None:
        if is_halved:
            self.listener.noticed(
                "micro_batch_halved",
                f"Memory did not suffice at step {step.number}: from now on {step.micro_batch} "
                "clips go through the network at a time. The result is the same; it takes longer.",
            )
        self.listener.took(step, self.training.plan.steps)

    def _forget(self) -> None:
        """Leave out what was taken back since, and remove its clips."""
        forgotten = share_object(self.forgotten())
        if forgotten == self.batches.forgotten:
            return
        self.batches = replace(self.batches, forgotten=forgotten)
        left = [pair for pair in self.batches.pairs if pair.left(forgotten)]
        if len(left) < max(FEWEST, self.processes.count):
            raise TooFewPairsError(
                f"{len(left)} of {len(self.batches.pairs)} pairs are left after deletions: too few "
                "to train on"
            )
        if self.processes.is_first:
            others = [pair for pair in self.kept_too if pair.left(forgotten)]
            self.batches.store.keep_only([*left, *others])
            self.listener.noticed(
                "pairs_forgotten",
                f"From step {self.training.step + 1} on {len(left)} of "
                f"{len(self.batches.pairs)} clips are trained on: captions or videos were deleted.",
            )
