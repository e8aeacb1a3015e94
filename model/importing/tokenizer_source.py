"""The tokenizer of an imported network, from wherever a person has it."""

import re
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from model.bundle_files import BundleError, read_text
from model.importing.errors import ImportRefusedError

BERT_UNCASED = "bert-base-uncased"
"""The hub's name of the vocabulary that All-in-One and Clover were trained with."""
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
JSON, VOCABULARY = "tokenizer.json", "vocab.txt"
PAD, UNKNOWN, FIRST, LAST, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
HUB_TIMEOUT_S = 20.0
MOST_WORDS = 1_000_000


def read_bert_tokenizer(source: str | None, *, vocabulary: int) -> str:
    """Return a BERT tokenizer as `tokenizers` serialises it.

    Args:
        source: a tokenizer.json, a vocab.txt, a folder with one of them, or the hub's name of a
            model; None: BERT uncased from the hub (or what an earlier download left).
        vocabulary: rows of the word table of the network.

    Raises:
        ImportRefusedError: there is none, or it does not fit the network.
    """
    path = _find(source or BERT_UNCASED)
    try:
        text = read_text(path)
    except BundleError as error:
        raise ImportRefusedError(str(error)) from error
    tokenizer = _from_json(text, path) if path.suffix == ".json" else _from_words(text, path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    _check(tokenizer, path, vocabulary=vocabulary)
    return str(tokenizer.to_str())


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        for name in (JSON, VOCABULARY):
            if (path / name).is_file():
                return path / name
        raise ImportRefusedError(f"{path} holds neither {JSON} nor {VOCABULARY}.")
    if path.is_file():
        return path
    if path.suffix in (".json", ".txt") or not HUB_NAME.fullmatch(source):
        raise ImportRefusedError(f"There is no file {path}; give a {JSON} or a {VOCABULARY}.")
    return _download(source)


def _download(name: str) -> Path:
    """Return the tokenizer of a model of the hub, from an earlier download if there is one."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache  # noqa: PLC0415 (slow)

    for file in (JSON, VOCABULARY):
        kept = try_to_load_from_cache(name, file)
        if isinstance(kept, str):
            return Path(kept)
    try:
        found = HfApi().model_info(name, timeout=HUB_TIMEOUT_S)
        files = {each.rfilename for each in found.siblings or []}
        file = JSON if JSON in files else VOCABULARY
        return Path(hf_hub_download(name, file, revision=found.sha))
    except Exception as error:  # its HTTP library, and so the classes, differ between releases
        raise ImportRefusedError(
            f"The tokenizer of {name} could not be fetched from the hub ({_first_line(error)}). "
            f"Without internet, download its {VOCABULARY} or {JSON} where there is some and give "
            f"the path: --tokenizer PATH/{VOCABULARY}."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _from_json(text: str, path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises bare Exception
        raise ImportRefusedError(
            f"{path} is not a tokenizer of the library `tokenizers`."
        ) from error


def _from_words(text: str, path: Path) -> Tokenizer:
    """Build BERT's uncased WordPiece tokenizer from its list of words, one a line."""
    words = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
    ids = {word: place for place, word in enumerate(words)}
    if len(ids) < len(words) or len(words) > MOST_WORDS:
        raise ImportRefusedError(f"{path} is not a list of words: some stand twice in it.")
    if lacking := [word for word in (PAD, UNKNOWN, FIRST, LAST, MASK) if word not in ids]:
        raise ImportRefusedError(f"{path} is not BERT's list of words: it lacks {lacking[0]}.")
    tokenizer = Tokenizer(WordPiece(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{FIRST} $A {LAST}",
        pair=f"{FIRST} $A {LAST} $B:1 {LAST}:1",
        special_tokens=[(FIRST, ids[FIRST]), (LAST, ids[LAST])],
    )
    tokenizer.add_special_tokens([PAD, UNKNOWN, FIRST, LAST, MASK])
    return tokenizer


def _check(tokenizer: Tokenizer, path: Path, *, vocabulary: int) -> None:
    words = tokenizer.get_vocab(with_added_tokens=True)
    rows = max(words.values(), default=-1) + 1
    if rows != vocabulary:
        raise ImportRefusedError(
            f"{path} has {rows} words, but the word table of the network has {vocabulary} rows; "
            f"the published networks use the vocabulary of {BERT_UNCASED}, 30522 words."
        )
    tokens = tokenizer.encode("a").tokens
    if PAD not in words or tokens[:1] != [FIRST] or tokens[-1:] != [LAST]:
        raise ImportRefusedError(
            f"{path} is not a BERT tokenizer: texts must begin with {FIRST} and end with {LAST}."
        )
