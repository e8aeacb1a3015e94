"""Losses are computed in full precision, whatever the network ran in."""

import torch
from torch import Tensor


def full(tensor: Tensor) -> Tensor:
    """Return the tensor in float32; float64 stays what it is."""
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def no_autocast(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast does not lower products on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)
