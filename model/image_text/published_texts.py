"""How a published model cuts text into tokens, out of the tokenizer that comes with it.

What was read is tried against the tokenizer of `transformers`: one that gives other ids is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

from model.image_text.published_sizes import read_published_json
from model.image_text.sentencepiece_file import read_sentencepieces
from model.image_text.siglip_texts import make_siglip_tokenizer
from model.image_text.sizes import POOLS_AT_END_OF_TEXT, Sizes
from model.image_text.texts import TextRules, tokenize
from model.image_text.towers import quietly
from model.importing.errors import ImportRefusedError

SIGLIP, PIECES, SETTINGS = "siglip", "spiece.model", "tokenizer_config.json"
FILES = ("tokenizer.json", PIECES, "vocab.json")
NO_LIMIT = 1_000_000
"""Tokenizers without a limit name an absurdly high one."""
TRIED = (
    "a photo of a cat",
    "Two DOGS play, then run (fast)!  It's 12:30.",
    "naïve café \u2013 Über \u65e5\u672c\u8a9e \U0001f600",
    "",
    "  spaces\tand\nlines  ",
    "a very long text " * 100,
)


def read_published_texts(folder: Path, sizes: Sizes) -> tuple[str, TextRules]:
    """Read the tokenizer, as `tokenizers` serialises it, and the rules that go with it.

    Raises:
        ImportRefusedError: there is no tokenizer, or none that is read here.
    """
    if not any((folder / name).is_file() for name in FILES):
        raise ImportRefusedError(
            f"{folder} has no tokenizer ({', '.join(FILES)}); fetch it with the model."
        )
    path = folder / SETTINGS
    settings = read_published_json(path) if path.is_file() else {}
    try:
        if sizes.model_type == SIGLIP and (folder / PIECES).is_file():
            tokenizer, rules = _from_pieces(folder / PIECES, settings, sizes)
        else:
            tokenizer, rules = _from_transformers(folder, settings, sizes)
    except ImportRefusedError:
        raise
    except Exception as error:  # both libraries raise many kinds, tokenizers bare Exception
        raise ImportRefusedError(f"The tokenizer of {folder} cannot be used: {error}.") from error
    return tokenizer.to_str(), rules


def _from_pieces(path: Path, settings: dict[str, Any], sizes: Sizes) -> tuple[Tokenizer, TextRules]:
    end, unknown = _token(settings, "eos_token", "</s>"), _token(settings, "unk_token", "<unk>")
    tokenizer = make_siglip_tokenizer(
        read_sentencepieces(path),
        end=end,
        unknown=unknown,
        lower_case=bool(settings.get("do_lower_case", True)),
    )
    pad = _token(settings, "pad_token", end)
    return tokenizer, _rules(sizes, settings.get("model_max_length"), pad, pads_left=False)


def _from_transformers(
    folder: Path, settings: dict[str, Any], sizes: Sizes
) -> tuple[Tokenizer, TextRules]:
    with quietly():
        theirs: Any = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    fast = getattr(theirs, "backend_tokenizer", None) or convert_slow_tokenizer(theirs)
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if theirs.pad_token is None:
        raise ImportRefusedError("Its tokenizer names no token to pad texts with.")
    is_left = theirs.padding_side == "left"
    rules = _rules(sizes, theirs.model_max_length, theirs.pad_token, pads_left=is_left)
    must_lower = _must_lower(tokenizer, settings)
    if must_lower:
        _lower(tokenizer)
    _try(theirs, tokenizer, rules, [text.lower() if must_lower else text for text in TRIED])
    return tokenizer, rules


def _rules(sizes: Sizes, limit: Any, pad: str, *, pads_left: bool) -> TextRules:
    longest = sizes.text.max_position_embeddings
    if isinstance(limit, int) and 0 < limit < NO_LIMIT:
        longest = min(longest, limit)
    pads_to_max = sizes.model_type not in POOLS_AT_END_OF_TEXT
    return TextRules(
        max_tokens=longest, pad_token=pad, pads_to_max=pads_to_max, pads_left=pads_left
    )


def _must_lower(tokenizer: Tokenizer, settings: dict[str, Any]) -> bool:
    """Tell whether letters should become small (as SigLIP 2 was trained) but do not."""
    return bool(settings.get("do_lower_case")) and (
        tokenizer.encode("A PHOTO").ids != tokenizer.encode("a photo").ids
    )


def _lower(tokenizer: Tokenizer) -> None:
    first = normalizers.Lowercase()
    then = tokenizer.normalizer
    tokenizer.normalizer = first if then is None else normalizers.Sequence([first, then])


def _try(theirs: Any, tokenizer: Tokenizer, rules: TextRules, texts: Sequence[str]) -> None:
    wanted = theirs(
        list(texts),
        padding="max_length" if rules.pads_to_max else True,
        truncation=True,
        max_length=rules.max_tokens,
    )["input_ids"]
    copy = Tokenizer.from_str(tokenizer.to_str())
    rules.set_up(copy)
    if tokenize(copy, texts).ids.tolist() != wanted:
        raise ImportRefusedError(
            f"Its tokenizer ({type(theirs).__name__}) cannot be written as one tokenizer.json."
        )


def _token(settings: dict[str, Any], name: str, default: str) -> str:
    """Return a special token, which files give as text or with how it is stripped."""
    found = settings.get(name, default)
    if isinstance(found, dict):
        found = found.get("content", default)
    return found if isinstance(found, str) else default
