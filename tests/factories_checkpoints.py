"""Checkpoint files as others write them: Lightning's container, published names, and traps."""

import json
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.all_in_one.dims import Dims
from tests.factories_model import make_tiny_network, make_tokenizer

KEYS = Path(__file__).parent / "data" / "all_in_one_keys.json"
LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint"
SMALL_DIMS = Dims(
    width=128,
    depth=2,
    patch=8,
    frame_size=32,
    frames=3,
    max_text_tokens=16,
    vocabulary=make_tokenizer().get_vocab_size(),
    projection=32,
)
"""Sizes that a checkpoint can tell: heads of 64, as all published networks have."""


def make_state(seed: int = 0, dims: Dims = SMALL_DIMS, **extra: Tensor) -> dict[str, Tensor]:
    """Make the table of weights of a small random network, with what published files add."""
    state = OrderedDict(make_tiny_network(seed, dims).state_dict())
    positions = torch.arange(dims.max_text_tokens)[None]
    state["text_embeddings.position_ids"] = positions
    state.update({name.replace("__", "."): tensor for name, tensor in extra.items()})
    return state


def published_keys(size: str, variant: str | None = None) -> dict[str, tuple[list[int], str]]:
    """Return shape and type of every tensor of a published file."""
    told = json.loads(KEYS.read_text())[size]
    keys = dict(told["pretrain"])
    if variant is not None:
        for name in told["variants"][variant]["absent"]:
            keys.pop(name)
        keys.update(told["variants"][variant]["added"])
    return {name: (shape, dtype) for name, (shape, dtype) in keys.items()}


def make_published_state(size: str, variant: str | None = None) -> dict[str, Tensor]:
    """Draw a table of weights with the names and shapes of a published file."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = OrderedDict()
    for name, (shape, dtype) in published_keys(size, variant).items():
        if dtype == "int64":
            state[name] = torch.arange(shape[-1]).reshape(shape)
        else:
            state[name] = 0.02 * torch.randn(shape, generator=generator)
    return state


def save_lightning(path: Path, state: Mapping[str, Tensor], **others: Any) -> Path:
    """Save as Lightning 1.1.4 does: its callbacks are keyed by a class object."""
    with _lightning_class() as callback:
        content = {
            "epoch": 7,
            "global_step": 200_000,
            "pytorch-lightning_version": "1.1.4",
            "callbacks": {callback: {"best_model_score": torch.tensor(0.5), "monitor": "val"}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(5)}}, "param_groups": []}],
            "lr_schedulers": [{"last_epoch": 7}],
            "native_amp_scaling_state": {"scale": 65536.0},
            "state_dict": OrderedDict(state),
            "hparams_name": "kwargs",
            "hyper_parameters": {"config": {"num_frames": 3, "max_text_len": 40, "seed": 0}},
            **others,
        }
        torch.save(content, path)
    return path


def write_words(path: Path, count: int) -> Path:
    """Write a list of words as BERT's vocab.txt is one, with so many words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"word{n}" for n in range(count - len(words))]
    path.write_text("\n".join(words) + "\n")
    return path


@contextmanager
def _lightning_class() -> Iterator[type]:
    """Lend a class of Lightning's name, which is gone when the file is read."""
    parts = LIGHTNING.split(".")
    names = [".".join(parts[: n + 1]) for n in range(len(parts))]
    sys.modules.update({name: types.ModuleType(name) for name in names})
    callback = type("ModelCheckpoint", (), {"__module__": LIGHTNING})
    sys.modules[LIGHTNING].ModelCheckpoint = callback  # type: ignore[attr-defined]
    try:
        yield callback
    finally:
        for name in names:
            del sys.modules[name]
