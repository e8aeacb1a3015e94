"""Numbers of the published All-in-One implementation, and how their weights and inputs are drawn.

The arrays were computed once with the official code on weights and inputs that anyone can draw
again: a stream of Philox numbers named by a salt and a name. Shapes: B pairs, L tokens, T frames.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.all_in_one.dims import Dims
from model.all_in_one.embeddings import fit_temporal
from model.all_in_one.network import AllInOne, assemble

TEXT_LENGTH = 40
GRID = 14
CLS, SEP, MASK = 101, 102, 103
NORMS = tuple(f"{norm}.weight" for norm in ("norm", "norm1", "norm2", "LayerNorm"))
NORM_BIASES = tuple(f"{norm}.bias" for norm in ("norm", "norm1", "norm2", "LayerNorm"))
TABLES = ("cls_token", "dist_token", "pos_embed")
MODALITY = "token_type_embeddings.weight"
TEMPORAL = "transformer.temporal_embed"
SHRUNK = (
    *(*TABLES, "temporal_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"),
    *("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    *("mlm_score.transform.dense.weight", "mlm_score.transform.dense.bias"),
    *("text_embeddings.LayerNorm.weight", "text_embeddings.LayerNorm.bias"),
)


def unit(salt, name, shape):
    """Draw numbers of mean 0 and variance 1, the same on every machine, float64."""
    digest = hashlib.sha256(f"{salt}:{name}".encode()).digest()
    stream = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    raw = stream.random_raw(int(np.prod(shape)))
    return ((2 * ((raw >> np.uint64(11)) * 2.0**-53) - 1) * np.sqrt(3)).reshape(shape)


def draw_weight(salt, key, shape):
    """Draw one tensor of the network, float64. The temporal embedding has 16 rows."""
    if key == TEMPORAL:
        return 0.3 * unit(salt, key, (1, 16, shape[2]))
    z = unit(salt, key, shape)
    return 1 + 0.2 * z if key.endswith(NORMS) else _spread(key, shape) * z


def _spread(key, shape):
    """Return the deviation of a tensor's values: the first rule that fits its key."""
    gain = 1.5 if key.endswith(("attn.qkv.weight", "mlp.fc1.weight")) else 1.0
    rules = (
        (key.endswith(NORM_BIASES), 0.1),
        (key.endswith(TABLES) or key == MODALITY, 0.5),
        (key.startswith("text_embeddings."), 0.01),
        (key.endswith("bias"), 0.1),
        (True, gain / np.sqrt(np.prod(shape[1:]))),
    )
    return next(spread for fits, spread in rules if fits)


@dataclass(frozen=True)
class Case:
    """One case of one file."""

    path: Path
    name: str

    @property
    def arrays(self):
        """All arrays of the file, read on use."""
        return _open(self.path)

    @property
    def meta(self):
        """What the file says of itself."""
        return json.loads(str(self.arrays["meta"]))

    @property
    def frames(self):
        """Frames T of a clip."""
        return self.meta["cases"][self.name]["T"]

    @property
    def lengths(self):
        """Real tokens of each text."""
        return self.meta["cases"][self.name]["lens"]

    def __str__(self):
        """Name the case in the report of a test run."""
        return f"{self.path.stem.removeprefix('fixture-')}-{self.name}"

    def under(self, prefix):
        """Return the arrays of this case below a prefix, by their names without it."""
        start = f"{self.name}/{prefix}/"
        return {k.removeprefix(start): self.arrays[k] for k in self.arrays if k.startswith(start)}

    def texts(self, name=None, lengths=None):
        """Return the ids and the mask of a batch of texts, (B, L)."""
        lengths = self.lengths if lengths is None else lengths
        name = f"input.{name or self.name}.text"
        u = unit(self.meta["salt"], name, (len(lengths), TEXT_LENGTH)) / np.sqrt(3)
        ids = torch.from_numpy(1000 + np.floor((u + 1) / 2 * 29000).astype(np.int64))
        slots = torch.arange(TEXT_LENGTH)
        length = torch.tensor(lengths)[:, None]
        ids[:, 0] = CLS
        ids[slots == length - 1] = SEP
        mask = slots < length
        return ids.masked_fill(~mask, 0), mask

    def clips(self, name="frames"):
        """Return normalised frames, float32 (B, T, 3, 224, 224)."""
        salt, start = self.meta["salt"], f"input.{self.name}.{name}"
        shape = (len(self.lengths), self.frames, 3)
        coarse = unit(salt, f"{start}.coarse", (*shape, GRID, GRID))
        coarse = coarse.repeat(16, axis=-1).repeat(16, axis=-2)
        fine = unit(salt, f"{start}.fine", (*shape, 224, 224))
        return torch.from_numpy((0.6 * fine + 0.8 * coarse).astype(np.float32))

    def permutation(self):
        """Return the patch in each slot of each frame, int64 (B, T, N)."""
        perm = torch.from_numpy(self.arrays[f"{self.name}/perm"].astype(np.int64))
        return perm.unflatten(0, (-1, self.frames))

    @torch.inference_mode(mode=False)  # the next user may want gradients
    def network(self) -> AllInOne:
        """Return the network with the weights of this case, in raster order."""
        case = self.meta["cases"][self.name]
        stored = case.get("inflate_from", self.frames)
        is_shrunk = bool(case.get("small"))
        network = _network(self.path, is_shrunk=is_shrunk)
        table = _weights(self.path, TEMPORAL, is_shrunk=is_shrunk)[:, :stored]
        network.transformer.temporal_embed = nn.Parameter(fit_temporal(table, self.frames))
        return network


def find_files(folder):
    """Return the files of a folder, and of its subfolder `all_in_one`, by name."""
    below = (Path(folder), Path(folder) / "all_in_one")
    return {path.name: path for place in below for path in sorted(place.glob("fixture-*.npz"))}


def find_cases(folder):
    """Return every case of every file of a folder, the cases of one file in a row."""
    paths = [path for path in find_files(folder).values() if "meta" in _open(path)]
    return [Case(path, name) for path in paths for name in Case(path, "").meta["cases"]]


def dims_of(meta):
    """Return the sizes of a network by the shapes of its parameters."""
    keys = meta["keys"]
    vocabulary, width = keys["text_embeddings.word_embeddings.weight"]
    blocks = {key.split(".")[2] for key in keys if key.startswith("transformer.blocks.")}
    return Dims(
        width=width,
        depth=len(blocks),
        vocabulary=vocabulary,
        max_text_tokens=keys["text_embeddings.position_embeddings.weight"][0],
        projection=keys["txt_proj.weight"][0],
        is_distilled="transformer.dist_token" in keys,
        roll_order="raster",
    )


@lru_cache(maxsize=4)
def _open(path):
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _weights(path, key, *, is_shrunk):
    meta = json.loads(str(_open(path)["meta"]))
    value = draw_weight(meta["salt"], key, [16 if n == "T" else n for n in meta["keys"][key]])
    if is_shrunk and (key.endswith(SHRUNK) or key == MODALITY):
        value = value * 1e-3
    return torch.from_numpy(value.astype(np.float32))


@lru_cache(maxsize=1)  # the largest has 134 M parameters
def _network(path, *, is_shrunk):
    meta = json.loads(str(_open(path)["meta"]))
    with torch.device("meta"):
        network = assemble(dims_of(meta))
    state = {
        key: _weights(path, key, is_shrunk=is_shrunk)
        for key in meta["keys"]
        if not key.endswith("position_ids") and key != TEMPORAL
    }
    state[TEMPORAL] = torch.zeros_like(network.transformer.temporal_embed, device="cpu")
    network.load_state_dict(state, assign=True)
    return network.eval()
