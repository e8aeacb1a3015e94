"""SigLIP's tokenizer without its library cuts text as the library does."""

import random
import string
import warnings

import pytest
from transformers import SiglipTokenizer

from model.image_text.sentencepiece_file import read_sentencepieces
from model.image_text.siglip_texts import make_siglip_tokenizer
from model.importing.errors import ImportRefusedError
from tests.factories_image_text import train_pieces

TEXTS = (
    "",
    " ",
    "...",
    "  leading and trailing  ",
    "tabs\tand\nnew\r\nlines",
    "don't_stop, 1,000.50 km/h (fast)!",
    "A & B <b> #5",
    "!? a",
    "x\u2581y \u2581 z",
    "na\u00efve caf\u00e9 e\u0301",
    "\u65e5\u672c\u8a9e \u306e \U0001f600 smile",
    "\ufb01ne \u2460 \u00bd \uff12\uff21\uff22",
    "a\u00a0b\u3000c\u200bd",
    "\u00a8 a\u00b4b",
    "\u0391\u03a3 \u1f48\u0394\u03a5\u03a3\u03a3\u0395\u038e\u03a3 \u0130stanbul",
)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "spiece.model"
    train_pieces(path)
    return path


def test_it_gives_the_same_ids(pieces):
    theirs = SiglipTokenizer(str(pieces), model_max_length=10_000)
    found = read_sentencepieces(pieces)
    ours = make_siglip_tokenizer(found, end="</s>", unknown="<unk>", lower_case=True)
    draw = random.Random(0)
    lines = ["".join(draw.choices(string.printable, k=draw.randint(0, 40))) for _ in range(500)]
    asked = [*TEXTS, *lines]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a text that ends with the end token
        wanted = [theirs(text)["input_ids"] for text in asked]

    assert [ours.encode(text).ids for text in asked] == wanted


def test_a_token_that_the_vocabulary_lacks_is_named(pieces):
    with pytest.raises(ValueError, match="'\\[END\\]'"):
        make_siglip_tokenizer(
            read_sentencepieces(pieces), end="[END]", unknown="<unk>", lower_case=True
        )


def test_a_piece_file_that_is_cut_off_anywhere_is_refused_or_shorter(pieces, tmp_path):
    content, path = pieces.read_bytes(), tmp_path / "spiece.model"
    whole = read_sentencepieces(pieces).pieces
    for size in range(0, 400, 7):
        path.write_bytes(content[:size])
        try:
            found = read_sentencepieces(path).pieces
        except ImportRefusedError as error:
            assert "SentencePiece" in str(error)  # noqa: PT017 (either is right)
        else:
            assert found == whole[: len(found)]
            assert len(found) < len(whole)
