"""Which weights learn, and how fast: by what passes through them.

Names begin as those of our families do: the unified network shares its blocks between both
modalities, so that only tables and the cutting into patches belong to one.
"""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

TEXT_ONLY = ("text_embeddings.", "text.")
VIDEO_ONLY = (
    "video.",
    "transformer.patch_embed.",
    "transformer.cls_token",
    "transformer.pos_embed",
    "transformer.temporal_embed",
    "transformer.mask_token",
)
MODALITIES = {"text": TEXT_ONLY, "video": VIDEO_ONLY}
NO_DECAY = ("bias", "norm", "LayerNorm", "embed", "token")


def freeze(network: nn.Module, parts: Iterable[str]) -> int:
    """Keep weights as they are, and return how many tensors that are.

    Args:
        network: whose weights.
        parts: `text`, `video`, or how names begin.

    Raises:
        ValueError: no weight is named so, or nothing is left to learn.
    """
    frozen: set[str] = set()
    names = [name for name, _ in network.named_parameters()]
    for part in parts:
        found = {name for name in names if name.startswith(MODALITIES.get(part, (part,)))}
        if not part or not found:
            first = ", ".join(sorted({name.split(".")[0] for name in names}))
            raise ValueError(
                f"no weight's name begins with {part!r}; give text, video, or the beginning of a "
                f"name: {first}"
            )
        frozen |= found
    if len(frozen) == len(names):
        raise ValueError("everything would be frozen, and nothing would be learned")
    for name, value in network.named_parameters():
        value.requires_grad_(name not in frozen)
    return len(frozen)


def parameter_groups(
    parts: nn.Module, weight_decay: float, text_rate: float
) -> list[dict[str, object]]:
    """Return what the optimizer is given: groups of weights, each with its `scale`.

    Vectors and tables do not decay.

    Args:
        parts: `network` and what learns beside it.
        weight_decay: of matrices.
        text_rate: what the learning rate is multiplied by for weights that only texts pass.
    """
    groups: dict[tuple[float, bool], list[Tensor]] = {(1.0, True): [], (1.0, False): []}
    for name, value in _learning(parts):
        is_text = name.removeprefix("network.").startswith(TEXT_ONLY)
        is_kept = value.ndim == 1 or any(part in name for part in NO_DECAY)
        groups.setdefault((text_rate if is_text else 1.0, not is_kept), []).append(value)
    return [
        {"params": values, "weight_decay": weight_decay if decays else 0.0, "scale": scale}
        for (scale, decays), values in groups.items()
        if values
    ]


def _learning(parts: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in parts.named_parameters() if value.requires_grad)
