"""Teach a tokenizer that knows few words those of the captions, and make room for them.

The bundled network knows some hundred words and spells out all others, letter by letter; a caption
about anything else would be cut before it says much. Shapes: V words, C width.
"""

import json
from collections import Counter
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer
from torch import Tensor

CLOSED_VOCABULARY = 5_000
"""A tokenizer of fewer words was made for a small world; those of word pieces for any text are
larger (BERT's has 30,522) and stay as they are."""
MOST_NEW_WORDS = 20_000


def grow_vocabulary(tokenizer: Tokenizer, captions: Iterable[str]) -> tuple[Tokenizer, int]:
    """Add the words of captions that the tokenizer would spell out.

    Args:
        tokenizer: of word pieces; left as it is if it is no small list of words.
        captions: what training reads.

    Returns:
        a tokenizer whose new words come after all it had, the most frequent first, and how many
        there are.
    """
    if not is_closed(tokenizer):
        return tokenizer, 0
    content = json.loads(tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    counts = Counter(word for caption in captions for word in _words(tokenizer, caption))
    unknown = [word for word, _ in sorted(counts.items(), key=_rank) if word not in vocabulary]
    new = unknown[:MOST_NEW_WORDS]
    first = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    vocabulary.update({word: first + index for index, word in enumerate(new)})
    return Tokenizer.from_str(json.dumps(content)), len(new)


def is_closed(tokenizer: Tokenizer) -> bool:
    """Tell whether a tokenizer is of word pieces and was made for few words."""
    kind = json.loads(tokenizer.to_str())["model"].get("type")
    return kind == "WordPiece" and tokenizer.get_vocab_size() < CLOSED_VOCABULARY


def _rank(counted: tuple[str, int]) -> tuple[int, str]:
    word, count = counted
    return -count, word


def _words(tokenizer: Tokenizer, caption: str) -> list[str]:
    """Return the words of a caption as the tokenizer tells them apart."""
    text = tokenizer.normalizer.normalize_str(caption) if tokenizer.normalizer else caption
    if tokenizer.pre_tokenizer is None:
        return text.split()
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def grow_rows(table: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Return a table with more rows, drawn like those that it has.

    Each column of a new row has the mean and the spread of that column: such words are ordinary
    from the first step on, neither louder nor quieter than the others.

    Args:
        table: (V, C), or (V,) for biases, whose new rows are the mean.
        rows: wanted, at least V.
        generator: where the randomness comes from.
    """
    missing = rows - len(table)
    if missing == 0:
        return table
    mean = table.mean(dim=0)
    if table.ndim == 1:
        return torch.cat((table, mean.expand(missing)))
    noise = torch.randn(missing, *table.shape[1:], generator=generator)
    return torch.cat((table, mean + table.std(dim=0) * noise))
