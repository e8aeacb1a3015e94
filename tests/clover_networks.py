"""Our Clover with the weights of the published numbers, and all that one pass over them makes.

Shapes: B pairs, L tokens, T frames, C width, P video features of a clip.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.clover.dims import CLOVER_BASE, CloverDims
from model.clover.keys import clover_names
from model.clover.network import Clover, assemble
from model.objectives.clover import TriModal, clover_losses
from model.objectives.focal import focal_masked_language_loss
from tests import clover_parity

DIMS = {
    "tiny": CloverDims(
        embed_width=16,
        depths=(2, 2, 2, 2),
        width=48,
        text_depth=3,
        text_heads=4,
        mlp_width=96,
        max_text_tokens=40,
        vocabulary=300,
        fusion_depth=2,
        projection=32,
        projection_hidden=96,
        heads=(1, 2, 4, 8),
        has_matching_head=False,  # ours: the published network has none
    ),
    "base": replace(CLOVER_BASE, max_text_tokens=512, has_matching_head=False),
}
LOSSES = {
    "align_video": "nce_loss",
    "rank_text": "rank_t_tm_loss",
    "align_text": "v_nce_loss",
    "rank_video": "rank_v_vm_loss",
}
"""Parts of our loss and what the file calls them."""
CORNER = (slice(None), slice(None), slice(1), slice(2), slice(2))
VOCABULARY_KEPT = 600


def make_network(salt: str, dims: CloverDims) -> Clover:
    """Draw a network of the published weights."""
    with torch.device("meta"):
        network = assemble(dims)
    state = {
        name: torch.cat(
            [clover_parity.draw_weight(salt, part, shape) for part, shape in parts(name, tensor)]
        )
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    return network.eval()


def parts(name: str, tensor: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Return the published names and shapes that a tensor of ours is made of."""
    names = clover_names(name)
    return [(part, (len(tensor) // len(names), *tensor.shape[1:])) for part in names]


def read_frames(arrays, prefix: str) -> Tensor:
    """Return the stored clips as a network reads them, (B, T, 3, S, S)."""
    return clover_parity.enlarge(arrays[f"{prefix}_in_imgs_lowres"]).transpose(1, 2)


def published_layout(visual: Tensor) -> Tensor:
    """Put channels first, (B, C, T', H', W')."""
    return visual.movedim(-1, 1)


class Outcome:
    """All passes of Clover's pre-training over the stored pairs.

    Attributes:
        arrays: what the passes make, as the file names it.
        losses: the five parts and their sum, as the file names them.
    """

    def __init__(self, network: Clover, arrays, prefix: str) -> None:
        given = clover_parity.tensors(arrays, f"{prefix}_in_")
        mask = given["attn_mask"].bool()
        self.network = network
        self.arrays: dict[str, Tensor] = {}
        frames = read_frames(arrays, prefix)
        with self._stages():
            visual = network.visual_tokens(frames)
        masked_visual = network.visual_tokens(frames, given["v_mask"][:, 0].bool())
        words = network.text_tokens(given["token_ids_full"], mask)
        masked_words = network.text_tokens(given["token_ids_masked"], mask)
        video_fused = network.join(words, mask, masked_visual)
        text_fused = network.join(masked_words, mask, visual)
        self.arrays |= {
            "visual_token": published_layout(visual),
            "visual_token_masked": published_layout(masked_visual),
            "text_full": words,
            "text_masked": masked_words,
            "fused_vm_t_text": video_fused.text,
            "fused_vm_t_video": video_fused.image,
            "fused_v_tm_text": text_fused.text,
            "fused_v_tm_video": text_fused.image,
            "emb_v": network.video_proj(visual.mean(dim=(1, 2, 3))),
            "emb_vm": network.video_proj(masked_visual.mean(dim=(1, 2, 3))),
            "emb_t": network.text_proj(words[:, 0]),
            "emb_tm": network.text_proj(masked_words[:, 0]),
            "emb_mvm": network.joint_video(video_fused),
            "emb_mtm": network.joint_text(text_fused),
            "emb_mvm_release1": network.joint_video_head(video_fused.image.mean(dim=1)),
        }
        self.losses = self._name_words(text_fused.text, given["mlm_label"]) | self._align()
        self.losses["total"] = sum(self.losses.values())

    def _name_words(self, text: Tensor, labels: Tensor) -> dict[str, Tensor]:
        rows = (labels.flatten() >= 0).nonzero()[:, 0]
        logits = self.network.mlm_logits(text.flatten(0, 1)[rows])
        self.arrays |= {
            "mlm_rows": rows,
            "mlm_logits_masked": logits[:, :VOCABULARY_KEPT],
            "mlm_logsumexp": logits.logsumexp(dim=-1),
        }
        return {"mlm_loss": focal_masked_language_loss(logits, labels.flatten()[rows])}

    def _align(self) -> dict[str, Tensor]:
        made = clover_losses(
            TriModal(
                video=self.arrays["emb_v"],
                text=self.arrays["emb_t"],
                masked_text=self.arrays["emb_tm"],
                joint_video=self.arrays["emb_mvm"],
                joint_text=self.arrays["emb_mtm"],
                masked_video=self.arrays["emb_vm"],
            )
        )
        return {LOSSES[name]: loss for name, loss in made.items()}

    def _stages(self) -> "_Recording":
        return _Recording(self.network, self.arrays)


class _Recording:
    """Keeps what the patches and the stages of the video encoder give."""

    def __init__(self, network: Clover, arrays: dict[str, Tensor]) -> None:
        self.network = network
        self.arrays = arrays

    def __enter__(self) -> None:
        video = self.network.video
        self.handles = [
            stage.register_forward_hook(lambda _, __, out, i=index: self._keep(f"stage{i}", *out))
            for index, stage in enumerate(video.layers)
        ]
        self.handles.append(
            video.patch_embed.register_forward_hook(lambda _, __, out: self._keep_patches(*out))
        )

    def __exit__(self, *_error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _keep(self, name: str, tokens: Tensor, size: tuple[int, int, int]) -> None:
        self.arrays[f"{name}_pool"] = tokens.mean(dim=1)
        self.arrays[f"{name}_corner"] = published_layout(tokens.unflatten(1, size))[CORNER]

    def _keep_patches(self, tokens: Tensor, size: tuple[int, int, int]) -> None:
        grid = published_layout(tokens.unflatten(1, size))
        self.arrays["patch_embed_corner"] = grid[:, :, :2, :4, :4]
