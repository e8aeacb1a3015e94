"""Processes of a tuning run of which the second one's memory holds one clip at a time.

python tests/tuning_crowd.py FOLDER       starts two processes that train together
"""

import os
import sys
from pathlib import Path

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from model.all_in_one.embeddings import PatchEmbedding
from workers.tuning.launch import launch
from workers.tuning.process import main


def refuse(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    """Refuse memory as torch does."""
    if isinstance(module, PatchEmbedding) and len(given[0]) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


if __name__ == "__main__":
    if "RANK" not in os.environ:
        launch(2, Path(sys.argv[1]), (__file__,))
        sys.exit()
    if os.environ["RANK"] == "1":
        register_module_forward_pre_hook(refuse)
    sys.exit(main(sys.argv[1:]))
