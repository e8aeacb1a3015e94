"""Models to switch to: the bundled one with a little noise in its weights."""

from pathlib import Path

import torch

from model.bundle import load_trainable, save_bundle

NOISE = 0.1
"""Of the weights, as a share of their deviation: another model that can be told apart."""


def make_candidate(bundle: Path, folder: Path, *, seed: int = 0) -> Path:
    """Write a bundle that differs a little from another."""
    trainable = load_trainable(bundle)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in trainable.network.parameters():
            if weights.ndim > 1:
                noise = torch.randn(weights.shape, generator=random)
                weights.add_(NOISE * weights.std() * noise)
    save_bundle(
        folder,
        network=trainable.network,
        dims=trainable.dims,
        preprocessing=trainable.preprocessing,
        tokenizer_json=trainable.tokenizer.to_str(),
        card={"name": folder.name},
        similarity_weight=trainable.similarity_weight,
    )
    return folder
