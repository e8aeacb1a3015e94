"""Where networks run."""

import torch


def choose_device(wanted: str) -> str:
    """Return the device that `auto` means on this machine; others are returned as they are."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
