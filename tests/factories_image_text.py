"""Small random image-text models, saved in the hub's format: real files, nothing trained."""

import contextlib
import io
import json
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)
from transformers.utils import logging

SENTENCES = (
    "a photo of a cat",
    "two dogs play in the snow!",
    "The quick brown fox jumps over the lazy dog.",
    "a man rides a bicycle, fast; down the hill at 12:30",
    "a red circle moves from left to right",
    "children run along the beach",
)
START, END = "<|startoftext|>", "<|endoftext|>"
LONGEST = 16
TOWER = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TOWER, "hidden_size": 32, "max_position_embeddings": LONGEST, "bos_token_id": None}
VISION = {**TOWER, "hidden_size": 48, "image_size": 32, "patch_size": 8}


OLD_ENTRIES = {
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "dropout": 0.0,
    "top_k": 50,
    "max_length": 20,
    "num_beams": 1,
    "torch_dtype": None,
    "use_bfloat16": False,
    "bad_words_ids": None,
    "is_decoder": False,
    "output_scores": False,
    "torchscript": False,
}
"""Every configuration once held the settings of text generation; the end is the highest id."""


def save_clip(folder: Path, *, seed: int = 0, meta: bool = False, weights: str = "safe") -> Path:
    """Save a CLIP of 32 px (short side 32, crop), 24 features wide, with a byte-level BPE."""
    tokenizer = _clip_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    config_class, model_class = (
        (MetaClip2Config, MetaClip2Model) if meta else (CLIPConfig, CLIPModel)
    )
    config = config_class(text_config=text, vision_config=VISION, projection_dim=24)
    _save(folder, model_class, config, seed, weights)
    tokenizer.save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**size).save_pretrained(folder)
    return folder


def save_old_clip(folder: Path, *, seed: int = 0) -> Path:
    """Save a CLIP as the first ones were: pickled, with the file layouts of early 2022."""
    save_clip(folder, seed=seed, weights="pickled")
    config = json.loads((folder / "config.json").read_text())
    towers = {
        f"{name}_config": {
            **config[f"{name}_config"],
            **OLD_ENTRIES,
            "model_type": f"clip_{name}_model",
        }
        for name in ("text", "vision")
    }
    nothing = {"text_config_dict": None, "vision_config_dict": None, "transformers_version": None}
    edit_json(folder / "config.json", **towers, **nothing)
    written = json.loads((folder / "preprocessor_config.json").read_text())
    del written["image_processor_type"]
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(written | old))
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(merge) for merge in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return folder


def save_siglip(folder: Path, *, seed: int = 0) -> Path:
    """Save a SigLIP of 32 px (squashed), with a SentencePiece vocabulary."""
    folder.mkdir(parents=True)
    size = train_pieces(folder / "spiece.model")
    text = {**TEXT, "hidden_size": 48, "eos_token_id": None, "vocab_size": size}
    _save(folder, SiglipModel, SiglipConfig(text_config=text, vision_config=VISION), seed)
    settings = {
        "tokenizer_class": "SiglipTokenizer",
        "model_max_length": LONGEST,
        "do_lower_case": True,
        "pad_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_input_names": ["input_ids"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_siglip2(folder: Path, *, seed: int = 0, naflex: bool = True) -> Path:
    """Save a SigLIP 2 with Gemma's kind of tokenizer: NaFlex, or of the fixed size as SigLIP."""
    tokenizer = _gemma_tokenizer()
    text = {
        **TEXT,
        "hidden_size": 48,
        "eos_token_id": None,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    if naflex:
        vision = {name: value for name, value in VISION.items() if name != "image_size"}
        config = Siglip2Config(text_config=text, vision_config={**vision, "num_patches": 16})
        _save(folder, Siglip2Model, config, seed)
        Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    else:
        _save(folder, SiglipModel, SiglipConfig(text_config=text, vision_config=VISION), seed)
        size = {"height": 32, "width": 32}
        SiglipImageProcessorPil(size=size, resample=2).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "GemmaTokenizer",
        "model_max_length": LONGEST,
        "do_lower_case": True,
        "padding_side": "right",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "add_bos_token": False,
        "add_eos_token": True,
        "model_input_names": ["input_ids"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def train_pieces(path: Path) -> int:
    """Write a SentencePiece vocabulary as SigLIP's, and return how many pieces it has."""
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=stream,
        vocab_size=80,
        hard_vocab_limit=False,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        pad_piece="<pad>",
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    path.write_bytes(stream.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue()).get_piece_size()


def edit_json(path: Path, **changes) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _clip_tokenizer() -> CLIPTokenizer:
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(SENTENCES * 3, trainer)
    learned = json.loads(trained.to_str())["model"]
    singles = [*alphabet, *(f"{character}</w>" for character in alphabet)]
    pieces = dict.fromkeys([*singles, *learned["vocab"], START, END])
    return CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[tuple(merge) for merge in learned["merges"]],
        model_max_length=LONGEST,
    )


def _gemma_tokenizer() -> Tokenizer:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*special, *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = written["added_tokens"][: len(special)]
    tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def _save(
    folder: Path, model_class: type[PreTrainedModel], config, seed: int, weights: str = "safe"
) -> None:
    """Save random weights that react to their input, as safetensors or as a pickled state dict."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    with torch.random.fork_rng(devices=[]), contextlib.ExitStack() as after:
        after.callback(logging.set_verbosity, level)
        torch.manual_seed(seed)
        network = model_class(config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "logit" not in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        network.save_pretrained(folder)
    if weights == "pickled":
        (folder / "model.safetensors").unlink()
        positions = torch.arange(LONGEST).expand((1, -1))
        state = network.state_dict() | {"text_model.embeddings.position_ids": positions}
        torch.save(state, folder / "pytorch_model.bin")
