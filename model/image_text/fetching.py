"""Find a published model: a folder, or a repository of the Hugging Face hub."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from model.importing.errors import ImportRefusedError

CONFIG = "config.json"
SMALL_FILES = (
    CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "README.md",
)
"""What is read beside the weights; nothing else is fetched, code least of all."""
WEIGHTS = (
    re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors"),
    re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin"),
)
"""Files of weights, the form that is preferred first."""
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+")
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Source:
    """A published model on this disk.

    Attributes:
        folder: where its files are.
        name: what was asked for.
        revision: the commit that was fetched; None for a folder.
    """

    folder: Path
    name: str
    revision: str | None

    @property
    def weights(self) -> list[Path]:
        """Its files of weights, in one form.

        Raises:
            ImportRefusedError: there are none.
        """
        names = [path.name for path in self.folder.iterdir() if path.is_file()]
        return [self.folder / name for name in choose_weights(names, self.name)]


def find_source(source: str, revision: str | None) -> Source:
    """Return a local folder as it is, or fetch what is needed of a repository.

    Raises:
        ImportRefusedError: it is not there, or cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ImportRefusedError(f"{source} is a folder: only the hub has revisions.")
        if not (folder / CONFIG).is_file():
            raise ImportRefusedError(
                f"{folder} has no {CONFIG}: no CLIP or SigLIP model was saved there."
            )
        return Source(folder, source, None)
    if HUB_NAME.fullmatch(source) is None:
        raise ImportRefusedError(f"{source} is neither a folder nor a name like owner/model.")
    try:
        return _fetch(source, revision)
    except ImportRefusedError:
        raise
    except Exception as error:  # its HTTP library, and so the classes, differ between releases
        raise _explain(error, source, revision) from error


def choose_weights(names: Sequence[str], source: str) -> list[str]:
    """Return which files hold the weights, safetensors if there are any.

    Raises:
        ImportRefusedError: none does.
    """
    for form in WEIGHTS:
        if found := sorted(name for name in names if form.fullmatch(name)):
            whole = [name for name in found if "-of-" not in name]
            return whole or found
    raise ImportRefusedError(
        f"{source} holds no weights that are read here (model.safetensors or pytorch_model.bin)."
    )


def _fetch(name: str, revision: str | None) -> Source:
    try:
        found = HfApi().model_info(name, revision=revision, timeout=TIMEOUT_S)
    except OfflineModeIsEnabled:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=[CONFIG], local_files_only=True
        )
        return Source(Path(folder), name, Path(folder).name)
    names = [sibling.rfilename for sibling in found.siblings or []]
    if CONFIG not in names:
        raise ImportRefusedError(f"{name} has no {CONFIG}: it is no model that transformers loads.")
    wanted = [*choose_weights(names, name), *(file for file in SMALL_FILES if file in names)]
    folder = snapshot_download(name, revision=revision, allow_patterns=wanted)
    return Source(Path(folder), name, Path(folder).name)  # the cache names folders by commit


def _explain(error: Exception, name: str, revision: str | None) -> ImportRefusedError:
    """Say in a sentence why a repository could not be fetched, and what to do."""
    elsewhere = (
        "download the model on a machine with internet "
        f"(hf download {name} --local-dir FOLDER), and give the folder instead"
    )
    match error:
        case GatedRepoError():
            reason = (
                f"{name} is gated: accept its terms on the hub, then log in with 'hf auth login'"
            )
        case RevisionNotFoundError():
            reason = f"{name} has no revision {revision!r}"
        case RepositoryNotFoundError():
            reason = (
                f"The hub has no model {name!r} that you may see: check the spelling, or log in "
                "with 'hf auth login' if it is private"
            )
        case HFValidationError():
            reason = f"{name!r} is not a name of the hub, like owner/model"
        case OfflineModeIsEnabled() | LocalEntryNotFoundError() if _is_offline():
            reason = (
                f"{name} is not on this machine and HF_HUB_OFFLINE forbids to fetch it: unset it, "
                f"or {elsewhere}"
            )
        case HfHubHTTPError():
            reason = f"The hub refused {name}: {str(error).splitlines()[0]}"
        case _:
            reason = (
                f"The hub cannot be reached for {name} ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no reason given'}): check the "
                f"network, or {elsewhere}"
            )
    return ImportRefusedError(f"{reason}.")


def _is_offline() -> bool:
    from huggingface_hub import constants  # noqa: PLC0415 (read when asked)

    return bool(constants.HF_HUB_OFFLINE)
