"""What training needs of a bundle, whatever its family."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from tokenizers import Tokenizer
from torch import nn

from model.preprocessing import Preprocessing


class Sizes(Protocol):
    """Sizes of a network: a frozen dataclass of the family's own."""

    family: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class TrainableBundle:
    """A network with float32 weights and gradients on, and what it was trained with.

    Attributes:
        network: a `VideoTextNetwork`.
        dims: its sizes.
        preprocessing: how clips were cut and scaled.
        tokenizer: turns text into ids, cut at the network's longest text; it does not pad.
        similarity_weight: see `RetrievalSpec`.
    """

    network: nn.Module
    dims: Sizes
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    similarity_weight: float
