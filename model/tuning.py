"""Tune a bundle on one's own videos: load, train, save a new bundle that says where it is from."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch

from model.adapting import adapt, fresh_parts
from model.bundle import load_trainable, save_bundle
from model.bundle_files import CARD, bundle_digest, read_json
from model.clip_store import ClipStore, LeftOut, all_captions
from model.distributed import Processes, joined, local_device, share_object
from model.masking import WordMasker
from model.pair_batches import PairBatches
from model.pairs import VideoPair
from model.plan import Plan
from model.recipes.clover import CloverObjectives, CloverRecipe
from model.recipes.native import NativeObjectives, NativeRecipe
from model.semantic_masking import SemanticMasker
from model.stopping import until_stopped
from model.train import Step, Training
from model.trainable import TrainableBundle
from model.tuning_choices import Choices, TuningError, plan_for
from model.word_dropout import WordDropout, forget_spelling, leave_out_words

AnyRecipe = NativeRecipe | CloverRecipe
AnyObjectives = NativeObjectives | CloverObjectives

RUN, CLIPS, SETTINGS = "run.safetensors", "clips", "settings.json"
SAVE_EVERY_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """How tuning went.

    Attributes:
        folder: the new bundle.
        digest: of the new bundle; None: training was stopped before its end, and can be resumed.
        steps: that were taken, in all.
        num_pairs: that were trained on.
        left_out: pairs that could not be used.
        new_words: that the tokenizer learned.
        wait_share: share of the time that was spent waiting for data, from 0 to 1.
    """

    folder: Path
    digest: str | None
    steps: int
    num_pairs: int
    left_out: Sequence[LeftOut]
    new_words: int
    wait_share: float


@dataclass(frozen=True)
class Listener:
    """Who is told how tuning goes; only in the first process.

    Attributes:
        checked: called with the number of clips that were decoded.
        left_out: called with each pair that cannot be used.
        took: called with each step, and how many there will be.
    """

    checked: Callable[[int], None] = field(default=lambda _: None)
    left_out: Callable[[LeftOut], None] = field(default=lambda _: None)
    took: Callable[[Step, int], None] = field(default=lambda _, __: None)


def tune(
    source: Path,
    pairs: Sequence[VideoPair],
    out: Path,
    *,
    choices: Choices | None = None,
    device: str = "cpu",
    resume: bool = False,
    listener: Listener | None = None,
) -> Tuned:
    """Train the network of a bundle on pairs and save a new bundle.

    Beside the new folder, `OUT.run` holds decoded clips and, every ten minutes and when training
    is asked to stop (SIGTERM, Ctrl-C), all that is needed to resume. It is removed at the end.
    Started by `torchrun`, processes share each batch; the first one writes.

    Args:
        source: bundle to start from; it is left as it is.
        pairs: clips and captions; those that cannot be decoded are reported and left out.
        out: folder of the new bundle.
        choices: what a person chose.
        device: `cpu` or `cuda`.
        resume: go on with a run that was stopped; it must have been started alike.
        listener: who is told how it goes.

    Raises:
        BundleError: the source is damaged, or of a family that is not trained here.
        TuningError: the folder is taken, there is nothing to resume, or too few pairs.
        TrainingError: gradients are not finite.
    """
    if (out / CARD).exists():
        raise TuningError(f"{out} holds a bundle already; choose another folder")
    run = _Run(source, tuple(pairs), out, choices or Choices(), device=local_device(device))
    with joined(run.device) as processes:
        return run.tune(processes, listener or Listener(), resume=resume)


class _Run:
    """One call of `tune`."""

    def __init__(
        self,
        source: Path,
        pairs: tuple[VideoPair, ...],
        out: Path,
        choices: Choices,
        *,
        device: torch.device,
    ) -> None:
        self.source, self.pairs, self.out, self.choices = source, pairs, out, choices
        self.device = device
        self.work = out.with_name(f"{out.name}.run")
        self.origin = bundle_digest(source)
        self.before = load_trainable(source)

    def tune(self, processes: Processes, listener: Listener, *, resume: bool) -> Tuned:
        """Prepare, train, save."""
        self._open_work(processes, resume=resume)
        store = ClipStore(self.work / CLIPS, self.before.preprocessing)
        usable, left_out = self._check(store, processes, listener)
        bundle, new_words = adapt(
            self.before,
            all_captions(self.pairs),
            needs_joint_heads=self.choices.recipe == "clover",
            dropout=self.choices.dropout,
            seed=self.choices.seed,
        )
        if self.choices.word_dropout and new_words:
            bundle = replace(bundle, tokenizer=forget_spelling(bundle.tokenizer))
        width: int = cast("Any", bundle.dims).width
        plan, batch = plan_for(len(usable), self.choices, width=width, processes=processes.count)
        training, objectives = self._start(bundle, plan)
        if resume:
            training.load(self.work / RUN)
        batches = PairBatches(usable, store, batch, self.choices.seed, processes)
        self._train(training, batches, bundle, processes, listener)
        is_done = training.step >= plan.steps
        digest = None
        if is_done and processes.is_first:
            facts = {"pairs": len(usable), "left_out": len(left_out), "new_words": new_words}
            digest = self._save(training, bundle, objectives, {**facts, "batch": batch})
        return Tuned(
            folder=self.out,
            digest=share_object(digest),
            steps=training.step,
            num_pairs=len(usable),
            left_out=left_out,
            new_words=new_words,
            wait_share=training.wait_share,
        )

    def _open_work(self, processes: Processes, *, resume: bool) -> None:
        """Make the folder of the run, or see that the one that is there is of this run."""
        settings = {
            "source": self.origin,
            "pairs": _digest(self.pairs),
            "choices": asdict(self.choices),
        }
        path = self.work / SETTINGS
        if resume:
            if not (self.work / RUN).exists():
                raise TuningError(f"{self.work} holds no run that could be resumed")
            if read_json(path) != settings:
                raise TuningError(
                    f"the run in {self.work} was started with other settings or pairs; give the "
                    "same ones, or remove that folder to start anew"
                )
        elif (self.work / RUN).exists():
            raise TuningError(
                f"{self.work} holds a run that was interrupted: go on with it by --resume, or "
                "remove that folder to start anew"
            )
        elif processes.is_first:
            self.work.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
        share_object(None)  # all wait for the first

    def _check(
        self, store: ClipStore, processes: Processes, listener: Listener
    ) -> tuple[list[VideoPair], list[LeftOut]]:
        """Decode all clips, in the first process; the others read what it kept."""
        found = None
        if processes.is_first:
            found = store.check(self.pairs, listener.checked)
            for one in found[1]:
                listener.left_out(one)
        usable, left_out = share_object(found)
        if not usable:
            first = left_out[0]
            raise TuningError(
                f"none of the {len(left_out)} videos can be used; the first, "
                f"{first.pair.path}: {first.reason}"
            )
        return usable, left_out

    def _start(
        self, bundle: TrainableBundle, plan: Plan
    ) -> tuple[Training[AnyRecipe], AnyObjectives]:
        network = bundle.network.to(self.device)
        recipe: AnyRecipe
        if self.choices.recipe == "clover":
            masker = SemanticMasker(bundle.tokenizer)
            recipe = CloverRecipe(network=network, masker=masker, objectives=CloverObjectives())
        else:
            recipe = NativeRecipe(
                network=network,
                masker=WordMasker.of(bundle.tokenizer),
                objectives=NativeObjectives(),
                num_special=getattr(bundle.dims, "num_special", 0),
            )
        return Training(recipe=recipe, plan=plan), recipe.objectives

    def _train(
        self,
        training: Training[AnyRecipe],
        batches: PairBatches,
        bundle: TrainableBundle,
        processes: Processes,
        listener: Listener,
    ) -> None:
        """Take steps to the end, or until asked to stop; keep the state as it goes."""
        saved_s = time.monotonic()
        source = batches.batches(bundle.tokenizer, first=training.step)
        if self.choices.word_dropout:
            dropout = WordDropout(bundle.tokenizer, most=self.choices.word_dropout)
            seed = self.choices.seed
            source = leave_out_words(source, dropout, seed=seed, first=training.step)
        with closing(source):
            for step in until_stopped(training.run(source), self.device):
                if not processes.is_first:
                    continue
                listener.took(step, training.plan.steps)
                if time.monotonic() - saved_s > SAVE_EVERY_S:
                    training.save(self.work / RUN)
                    saved_s = time.monotonic()
        if processes.is_first and training.step < training.plan.steps:
            training.save(self.work / RUN)

    def _save(
        self,
        training: Training[AnyRecipe],
        bundle: TrainableBundle,
        objectives: AnyObjectives,
        facts: dict[str, int],
    ) -> str:
        """Write the running average of the weights as a bundle, and remove the state of the run."""
        origin = read_json(self.source / CARD)
        bundle.network.load_state_dict(training.average)
        digest = save_bundle(
            self.out,
            network=bundle.network,
            dims=bundle.dims,
            preprocessing=bundle.preprocessing,
            tokenizer_json=bundle.tokenizer.to_str(),
            card={
                "name": self.out.name,
                "tuned_from": {"name": origin.get("name"), "digest": self.origin},
                "license": origin.get("license"),
                "data": facts,
                "recipe": self.choices.recipe,
                "word_dropout": self.choices.word_dropout,
                "objectives": asdict(objectives),
                "plan": asdict(training.plan),
                "steps": training.step,
                "changed_sizes": fresh_parts(self.before.dims, bundle.dims),
            },
            similarity_weight=bundle.similarity_weight,
        )
        shutil.rmtree(self.work)
        return digest


def _digest(pairs: Sequence[VideoPair]) -> str:
    """Return what names a list of pairs, whichever folder their videos lie in, hexadecimal."""
    told = [(pair.path.name, pair.captions, pair.start_s, pair.end_s) for pair in pairs]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
