"""SigLIP's tokenizer, made from its vocabulary file.

`transformers` has it only on top of the SentencePiece library; its rule is short: lower case, no
punctuation, single spaces, then the pieces, then the end token. A test compares both.
"""

import string

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, processors
from tokenizers.models import Unigram

from model.image_text.sentencepiece_file import SentencePieces

SPACE = "\u2581"
"""How pieces write a space."""


def make_siglip_tokenizer(
    found: SentencePieces, *, end: str, unknown: str, lower_case: bool
) -> Tokenizer:
    """Return SigLIP's tokenizer as `tokenizers` runs it, without padding.

    Args:
        found: the vocabulary.
        end: the token that closes every text.
        unknown: the token for what cannot be spelled.
        lower_case: letters become small.

    Raises:
        ValueError: a token is not in the vocabulary.
    """
    pieces = Unigram(found.pieces, found.unknown_id, byte_fallback=found.byte_fallback)
    tokenizer = Tokenizer(pieces)
    for token in (end, unknown):
        if tokenizer.token_to_id(token) is None:
            raise ValueError(f"the vocabulary has no token {token!r}")
    tokenizer.add_special_tokens(
        [AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in (end, unknown)]
    )
    punctuation = "".join(f"\\{character}" for character in string.punctuation)
    steps = [
        normalizers.Replace(SPACE, " "),
        *([normalizers.Lowercase()] if lower_case else []),
        normalizers.Replace(Regex(f"[{punctuation}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        *([normalizers.Precompiled(found.charsmap)] if found.charsmap else []),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Strip(),
        normalizers.Prepend(SPACE),
        normalizers.Replace(" ", SPACE),
    ]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    return tokenizer
