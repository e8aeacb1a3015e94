"""A BERT as others save it: a file or a folder, old and new names, tied weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.bundle_files import BundleError, read_json
from model.clover.foreign import Foreign
from model.importing.errors import ImportRefusedError
from model.importing.tokenizer_source import JSON, VOCABULARY

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
WORDS = "embeddings.word_embeddings.weight"
NAMING = "cls.predictions."
EXPECTED = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
"""What the arithmetic depends on, in the configuration."""


def bare_name(key: str) -> str:
    """Return the name of a tensor without `bert.`, in the present spelling of norms."""
    name = key.removeprefix("bert.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            name = name.removesuffix(old) + new
    return name


def find_weights(given: Path) -> Path:
    """Return the file of weights.

    Args:
        given: the file, or the folder that it is in.

    Raises:
        ImportRefusedError: the folder has none.
    """
    if not given.is_dir():
        return given
    for name in WEIGHTS:
        if (given / name).is_file():
            return given / name
    raise ImportRefusedError(f"{given} holds neither {' nor '.join(WEIGHTS)}.")


def find_tokenizer(given: Path) -> str | None:
    """Return the folder of the weights if it has a tokenizer too."""
    folder = given if given.is_dir() else given.parent
    has_one = any((folder / name).is_file() for name in (JSON, VOCABULARY))
    return str(folder) if has_one else None


def read_heads(given: Path) -> int | None:
    """Return how many attention heads the configuration beside the weights tells.

    Raises:
        ImportRefusedError: it says that the arithmetic is another one.
    """
    path = (given if given.is_dir() else given.parent) / "config.json"
    if not path.is_file():
        return None
    try:
        settings: Mapping[str, Any] = read_json(path)
    except BundleError as error:
        raise ImportRefusedError(f"{error}.") from error
    for name, known in EXPECTED.items():
        if settings.get(name, known) != known:
            raise ImportRefusedError(f"{path}: {name} is {settings[name]!r}, not {known!r}.")
    heads = settings.get("num_attention_heads")
    return heads if isinstance(heads, int) and heads > 0 else None


def untie(foreign: Foreign) -> bool:
    """Give the head that names hidden words tensors of its own, and tell whether there is one.

    Files leave the decoder out where it is the table of words, and spell its bias in two ways.
    """
    if f"{NAMING}transform.dense.weight" not in foreign.tensors:
        return False
    for name, same in (
        (f"{NAMING}decoder.weight", WORDS),
        (f"{NAMING}bias", f"{NAMING}decoder.bias"),
    ):
        if name not in foreign.tensors and same in foreign.tensors:
            foreign.tensors[name] = foreign.tensors[same]
            foreign.keys[name] = foreign.keys[same]
    return True
