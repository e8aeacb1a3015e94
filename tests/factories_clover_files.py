"""Files as those who trained the parts of Clover save them: names, containers, what they add."""

import json
from collections import OrderedDict

import torch
from safetensors.torch import save_file

from model.clover.dims import CloverDims
from model.clover.keys import bert_names, clover_names, swin_names
from tests.factories_clover import TINY_CLOVER, make_tiny_clover
from tests.factories_model import make_tokenizer

WINDOW_TOKENS = 2 * 4 * 4
INDEX = "attn.relative_position_index"


def theirs(names, beginnings, *, seed=0, dims: CloverDims = TINY_CLOVER):
    """Return tensors of a small random network under the names of others."""
    found = OrderedDict()
    for name, tensor in make_tiny_clover(seed, dims).state_dict().items():
        published = names(name)
        if name.startswith(beginnings):
            found.update(zip(published, tensor.chunk(max(1, len(published))), strict=False))
    return found


def video_swin(prefix="backbone.", *, seed=0):
    """Return a Video Swin as mmaction saves it: with a head, and constants in each block."""
    state = theirs(swin_names, "video.", seed=seed)
    del state["mask_token"]
    blocks = {name.rpartition(".attn.")[0] for name in state if ".attn." in name}
    state |= {
        f"{block}.{INDEX}": torch.zeros(WINDOW_TOKENS, WINDOW_TOKENS).long() for block in blocks
    }
    named = OrderedDict((f"{prefix}{name}", tensor) for name, tensor in state.items())
    if prefix:
        named["cls_head.fc_cls.weight"] = torch.zeros(400, 32)
    return named


def bert(prefix="bert.", *, seed=0, positions=512, has_head=True):
    """Return a BERT as the hub has it: 512 positions, a tied decoder, norms in the old spelling."""
    state = theirs(bert_names, ("text.", "pooler.", "mlm_head."), seed=seed)
    width = TINY_CLOVER.width
    table = state["embeddings.position_embeddings.weight"]
    more = torch.zeros(positions - len(table), width)
    state["embeddings.position_embeddings.weight"] = torch.cat((table, more))
    del state["cls.predictions.decoder.weight"]
    named = OrderedDict()
    for name, tensor in state.items():
        if name.startswith("cls.") and not has_head:
            continue
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        old = old.replace("LayerNorm.bias", "LayerNorm.beta")
        named[old if name.startswith("cls.") else f"{prefix}{old}"] = tensor
    if has_head:
        named["cls.seq_relationship.weight"] = torch.zeros(2, width)
        named[f"{prefix}embeddings.position_ids"] = torch.arange(positions)[None]
    return named


def save_bert_folder(folder, state, *, container="pytorch_model.bin", **config):
    """Save a BERT with its configuration and list of words."""
    folder.mkdir()
    if container.endswith(".bin"):
        torch.save(state, folder / container)
    else:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / container)
    settings = {"num_attention_heads": TINY_CLOVER.text_heads, "hidden_act": "gelu", **config}
    (folder / "config.json").write_text(json.dumps(settings))
    words = sorted(make_tokenizer().get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(word for word, _ in words) + "\n")
    return folder


def published_clover(*, seed=0, is_tuned=False):
    """Return a checkpoint of the published code, with the tables that nothing reads."""
    state = theirs(clover_names, "", seed=seed)
    width, words = TINY_CLOVER.width, TINY_CLOVER.vocabulary
    embeddings = "multimodal_backbone.bert_embedding."
    state[f"{embeddings}word_embeddings.weight"] = torch.zeros(words, width)
    state[f"{embeddings}position_ids"] = torch.arange(16)[None]
    state[f"backbone.layers.0.blocks.0.{INDEX}"] = torch.zeros(WINDOW_TOKENS, WINDOW_TOKENS).long()
    if is_tuned:
        dropped = ("backbone.mask_token", "mlm_")
        state = {name: tensor for name, tensor in state.items() if not name.startswith(dropped)}
    return state
