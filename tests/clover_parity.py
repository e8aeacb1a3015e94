"""Numbers of the published Clover implementation, and how their weights are drawn.

The arrays were computed once with the official code: pure functions (`fn_*`) in float64, networks
in float32 on weights that anyone can draw again, as a stream of Philox numbers named by a salt and
the key of the tensor. Shapes: B pairs, T frames.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

NAMES = ("clover-fixture.npz", "fixture.npz")
FOLDERS = (".", "clover")
TABLES = ("embedding", "_pos", "mask_token", "relative_position_bias_table")
PIXEL = 16
"""Images are stored small: each pixel is repeated so many times both ways."""


def find_file(folder):
    """Return the file with Clover's numbers, in a folder or in its subfolder `clover`.

    Args:
        folder: what `--parity-fixtures` says.

    Returns:
        None if there is none: whoever hands over a folder may test All-in-One alone.
    """
    candidates = [Path(folder) / below / name for below in FOLDERS for name in NAMES]
    return next((path for path in candidates if path.is_file()), None)


@lru_cache(maxsize=2)
def read_arrays(path):
    """Return all arrays of a file by name. They are shared: change none."""
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def under(arrays, prefix):
    """Return the arrays whose names begin with a prefix, by their names without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def tensors(arrays, prefix):
    """Return the same as `under` as new tensors, scalars too, without what is text."""
    found = under(arrays, prefix).items()
    return {name: torch.from_numpy(np.array(v)) for name, v in found if v.dtype.kind != "U"}


def rng(salt, name):
    """Return a stream of random numbers, the same on every machine."""
    digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:8], "little")))


def draw_weight(salt, key, shape):
    """Draw one tensor of a network, float32.

    Args:
        salt: the array `salt` of the file.
        key: the official name of the tensor.
        shape: of the tensor.
    """
    z = rng(salt, f"w/{key}").standard_normal(tuple(shape))
    if len(shape) == 1:
        value = 1 + 0.1 * z if key.endswith("weight") else 0.1 * z
    elif any(part in key for part in TABLES):
        value = 0.2 * z
    else:
        value = z / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


def enlarge(images):
    """Return stored images in full size: (B, 3, T, r, r) to float32 (B, 3, T, 16 r, 16 r)."""
    large = images.repeat(PIXEL, axis=-1).repeat(PIXEL, axis=-2)
    return torch.from_numpy(np.ascontiguousarray(large, dtype=np.float32))
