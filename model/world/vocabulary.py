"""The tokenizer of the procedural world: its words whole, any other word in letters."""

import string

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from model.world.lexicon import WORDS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, _, CLS, SEP, MASK = range(len(SPECIAL))


def make_tokenizer(max_tokens: int) -> Tokenizer:
    """Return a WordPiece tokenizer that lower-cases, cuts at `max_tokens` and adds the ends.

    Every ASCII letter, digit and mark is a piece, so that no text is without tokens.
    """
    characters = string.ascii_lowercase + string.digits
    pieces = [*characters, *(f"##{c}" for c in characters), *string.punctuation]
    vocabulary = {piece: i for i, piece in enumerate((*SPECIAL, *pieces, *WORDS))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
