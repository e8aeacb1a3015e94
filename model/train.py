"""Train an All-in-One network: VTC, VTM with hard negatives, ranking and MLM, step by step.

Shapes: B pairs of a batch, R rivals of which the fused pass tells one from the other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.all_in_one.network import AllInOne
from model.data import Batch
from model.masking import WordMasker
from model.objectives.checking import Checker
from model.objectives.contrastive import contrastive_loss, group_contrastive_loss
from model.objectives.masked_language import IGNORED, masked_language_loss
from model.objectives.matching import matching_loss
from model.objectives.naming import Namer
from model.objectives.ranking import ranking_loss
from model.plan import Plan
from model.retrieval import Tokens
from model.rivals import choose_rivals

NO_DECAY = ("bias", "norm", "LayerNorm", "embed", "token")


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        number: counted from 1.
        learning_rate: that it used.
        losses: by objective; `right` is the share of rivals told apart.
    """

    number: int
    learning_rate: float
    losses: dict[str, float] = field(default_factory=dict)


class Training:
    """A run that can be stopped after any step and continued as if it had not been.

    What is random in a step depends on the plan's seed and the step's number alone.

    Args:
        network: trained in place.
        namer: names the facts of clips and texts; trained beside the network.
        checker: says which facts of a pair are told rightly; trained beside the network.
        masker: hides words for the masked-language objective.
        plan: how to train.
    """

    def __init__(
        self, *, network: AllInOne, namer: Namer, checker: Checker, masker: WordMasker, plan: Plan
    ) -> None:
        self.network = network
        self.namer = namer
        self.checker = checker
        self.masker = masker
        self.plan = plan
        self.step = 0
        self.average = {name: value.clone() for name, value in network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(nn.ModuleList((network, namer, checker)), plan.weight_decay),
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    def run(self, batches: Iterable[Batch]) -> Iterator[Step]:
        """Train on batches, one a step, and report each step.

        Args:
            batches: the first is that of step `self.step`.
        """
        self.network.train()
        for batch in batches:
            if self.step >= self.plan.end:
                return
            yield self._take(batch)

    def _take(self, batch: Batch) -> Step:
        rate = self.plan.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + self.step)
        self.masker.generator = generator
        device = next(self.network.parameters()).device.type
        # On a CPU the backward pass of fused attention is three times slower than plain matrices
        # at these lengths (1.24 s a step against 0.42 s).
        with sdpa_kernel(SDPBackend.MATH), torch.autocast(device, torch.bfloat16):
            losses = self._losses(batch, generator)
        total = torch.stack([losses[name] for name in losses if name != "right"]).sum()
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.largest_gradient)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._keep_average()
        self.step += 1
        return Step(self.step, rate, {name: value.item() for name, value in losses.items()})

    def _losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        plan = self.plan
        has_fused = plan.rivals > 0 and self.step >= plan.fused_from
        has_dual = self.step % plan.contrast_every == 0 or not has_fused
        # A weight that autocast copies while gradients are off would stay without one: no cache.
        low = torch.autocast(batch.frames.device.type, torch.bfloat16, cache_enabled=has_dual)
        with torch.set_grad_enabled(has_dual), low:
            videos = self.network.embed_video(batch.frames).float()  # (B, E)
            texts = self.network.embed_text(batch.tokens.ids, batch.tokens.mask).float()  # (B, E)
        losses = self._dual_losses(batch, texts, videos) if has_dual else {}
        if has_fused:
            losses |= self._fused_losses(batch, (texts @ videos.T).detach(), generator)
        return losses

    def _dual_losses(self, batch: Batch, texts: Tensor, videos: Tensor) -> dict[str, Tensor]:
        plan, temperature = self.plan, self.plan.temperature
        contrast = contrastive_loss(texts, videos, temperature=temperature)
        group = group_contrastive_loss(texts, videos, batch.groups, temperature=temperature)
        return {
            "named_clips": plan.naming_weight * self.namer(videos, batch.clip_facts),
            "named_texts": plan.naming_weight * self.namer(texts, batch.text_facts),
            "contrast": plan.contrast_weight * contrast,
            "group": plan.group_weight * group,
        }

    def _fused_losses(
        self, batch: Batch, similarity: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        plan, network = self.plan, self.network
        ours, theirs = choose_rivals(batch, similarity, plan, generator)  # 2 x (R,)
        rows = torch.cat((ours, theirs))  # (2 R,)
        visual = network.visual_tokens(batch.frames[rows])  # (2 R, T, P, C)
        tokens = trim(batch.tokens[rows])
        swapped = torch.arange(len(rows)).roll(len(ours))  # each row's rival
        columns = torch.cat((torch.arange(len(rows)), swapped))  # clips of the true, then the false
        pooled = network.pool(
            tokens.ids.repeat(2, 1), tokens.mask.repeat(2, 1), visual[columns]
        )  # (4 R, C)
        logits = network.itm_score(pooled).float()  # (4 R, 2)
        labels = torch.arange(len(columns)) < len(rows)
        true, false = (logits[:, 1] - logits[:, 0]).chunk(2)  # 2 x (2 R,), by text
        losses = {
            "matching": matching_loss(logits, labels),
            "ranking": (
                ranking_loss(torch.stack((true, false), dim=1))
                + ranking_loss(torch.stack((true, false[swapped]), dim=1))
            )
            / 2,
            "right": (true > false).float().mean(),
        }
        if plan.checking_weight:
            told, shown = batch.text_facts[rows].repeat(2, 1), batch.clip_facts[rows][columns]
            losses["checked"] = plan.checking_weight * self.checker(pooled, told, shown)
        if plan.masked_texts:
            share = slice(0, plan.masked_texts)
            masked = self.masker(trim(batch.tokens[rows[share]]))
            hidden = masked.labels != IGNORED
            features = network.fuse(masked.tokens.ids, masked.tokens.mask, visual[share]).text
            losses["masked"] = plan.masked_weight * masked_language_loss(
                network.mlm_logits(features[hidden]), masked.labels[hidden]
            )
        return losses

    @torch.no_grad()
    def _keep_average(self) -> None:
        past = min(self.plan.average, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - past)

    # --- stop and continue

    def save(self, path: Path) -> None:
        """Write everything that continuing needs."""
        state = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        state |= {f"namer/{name}": value for name, value in self.namer.state_dict().items()}
        state |= {f"checker/{name}": value for name, value in self.checker.state_dict().items()}
        state |= {f"average/{name}": value for name, value in self.average.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        state["step"] = torch.tensor(self.step)
        partial = path.with_suffix(".partial")
        save_file({name: value.detach().contiguous() for name, value in state.items()}, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue where `save` left off."""
        state = load_file(path)
        self.step = int(state["step"])
        self.network.load_state_dict(_below(state, "network/"))
        self.namer.load_state_dict(_below(state, "namer/"))
        self.checker.load_state_dict(_below(state, "checker/"))
        self.average = _below(state, "average/")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(state, "optimizer/").items():
            index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
        settings = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**settings, "state": moments})


def trim(tokens: Tokens) -> Tokens:
    """Cut the padding that none of the texts needs."""
    longest = int(tokens.mask.sum(dim=1).max())
    return Tokens(tokens.ids[:, :longest], tokens.mask[:, :longest])


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the parameters that decay and those that do not: biases, norms and tables."""
    decayed: list[Tensor] = []
    kept: list[Tensor] = []
    for name, value in network.named_parameters():
        (kept if any(part in name for part in NO_DECAY) else decayed).append(value)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
