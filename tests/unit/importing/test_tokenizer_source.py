"""A tokenizer is read from wherever a person has it, and refused if it does not fit."""

import pytest
from tokenizers import Tokenizer

from model.importing.errors import ImportRefusedError
from model.importing.tokenizer_source import read_bert_tokenizer
from tests.factories_checkpoints import write_words
from tests.factories_model import make_tokenizer

SIZE = make_tokenizer().get_vocab_size()


def refusal(source, vocabulary=SIZE):
    with pytest.raises(ImportRefusedError) as refused:
        read_bert_tokenizer(str(source), vocabulary=vocabulary)
    return str(refused.value)


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_tokenizer_json_is_taken_as_it_is(tmp_path, is_folder):
    tokenizer = make_tokenizer()
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=99)  # noqa: S106
    tokenizer.enable_truncation(3)
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str())

    source = str(tmp_path if is_folder else path)
    read = Tokenizer.from_str(read_bert_tokenizer(source, vocabulary=SIZE))

    assert read.encode("a red Circle").tokens == ["[CLS]", "a", "red", "circle", "[SEP]"]
    assert read.padding is None
    assert read.truncation is None


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_list_of_words_becomes_an_uncased_wordpiece_tokenizer(tmp_path, ending):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cafe", "run", "##ning", "!", "a"]
    (tmp_path / "vocab.txt").write_bytes((ending.join(words) + ending).encode())

    read = Tokenizer.from_str(read_bert_tokenizer(str(tmp_path), vocabulary=len(words)))

    encoded = read.encode("Café RUNNING! zzz [MASK]")
    assert encoded.tokens == ["[CLS]", "cafe", "run", "##ning", "!", "[UNK]", "[MASK]", "[SEP]"]
    assert encoded.ids == [2, 5, 6, 7, 8, 1, 4, 3]


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    said = refusal(write_words(tmp_path / "vocab.txt", 100), vocabulary=30522)

    assert "100 words" in said
    assert "30522 rows" in said


def test_what_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "vocab.txt").write_text("one\ntwo\n")
    (tmp_path / "twice.txt").write_text("one\none\n")
    (tmp_path / "empty").mkdir()

    assert "is not a tokenizer" in refusal(tmp_path / "tokenizer.json")
    assert "lacks [PAD]" in refusal(tmp_path / "vocab.txt")
    assert "twice" in refusal(tmp_path / "twice.txt")
    assert "neither tokenizer.json nor vocab.txt" in refusal(tmp_path / "empty")
    assert "There is no file" in refusal(tmp_path / "nowhere.json")


def test_a_tokenizer_without_the_ends_of_a_text_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    path = tmp_path / "tokenizer.json"
    path.write_text(Tokenizer(tokenizer.model).to_str())

    assert "not a BERT tokenizer" in refusal(path)


def test_without_a_hub_the_sentence_says_what_to_download(monkeypatch):
    """The hub is not ours: it is forbidden, as a machine without network forbids it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    said = refusal("someone/who-is-not-there")

    assert "could not be fetched" in said
    assert "--tokenizer PATH/vocab.txt" in said


def test_an_earlier_download_is_used_without_a_hub(tmp_path, monkeypatch):
    folder = tmp_path / "models--someone--bert"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    kept = folder / "snapshots" / ("0" * 40)
    kept.mkdir(parents=True)
    (kept / "tokenizer.json").write_text(make_tokenizer().to_str())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    read = Tokenizer.from_str(read_bert_tokenizer("someone/bert", vocabulary=SIZE))

    assert read.encode("dog").tokens == ["[CLS]", "dog", "[SEP]"]
