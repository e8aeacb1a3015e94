"""The networks of `transformers`, built from sizes alone.

Importing this module costs seconds: do so only where such a model is really used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from model.bundle_files import BundleError
from model.image_text.sizes import POOLS_AT_END_OF_TEXT, Sizes

ATTENTION = "sdpa"
POSITIONS = "position_ids"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep `transformers` from warning of what these networks never use, and from progress bars."""
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()


def configure(sizes: Sizes) -> PreTrainedConfig:
    """Return the configuration that `transformers` builds a network from."""
    no_ids = {"bos_token_id": None, "pad_token_id": None}
    text: dict[str, Any] = {**vars(sizes.text), **no_ids}
    vision: dict[str, Any] = dict(vars(sizes.vision))
    both: dict[str, Any] = {}
    if sizes.model_type in POOLS_AT_END_OF_TEXT:
        both["projection_dim"] = sizes.embedding_dim
    else:
        text |= {"projection_size": sizes.embedding_dim, "eos_token_id": None}
    if sizes.is_patchwise:
        del vision["image_size"]
        vision["num_patches"] = sizes.vision.num_patches
    made = AutoConfig.for_model(sizes.model_type, text_config=text, vision_config=vision, **both)
    return cast("PreTrainedConfig", made)


def assemble(sizes: Sizes) -> PreTrainedModel:
    """Build a network without weights: all its tensors are on the meta device.

    Raises:
        BundleError: `transformers` refuses the sizes.
    """
    try:
        with quietly(), torch.device("meta"):
            network = AutoModel.from_config(configure(sizes), attn_implementation=ATTENTION)
    except (TypeError, ValueError, KeyError) as error:
        raise BundleError(f"the sizes fit no {sizes.model_type} network: {error}") from error
    return cast("PreTrainedModel", network)


def fill(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give an assembled network its weights, and the positions that are not stored.

    Raises:
        BundleError: something of it is neither a weight nor a position.
    """
    network.load_state_dict(state, assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if not buffer.is_meta:
                continue
            if name != POSITIONS:
                raise BundleError(f"the network computes {name!r}, which is not stored")
            module.register_buffer(
                name, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False
            )
