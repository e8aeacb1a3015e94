"""A file that means harm, or is damaged, is refused with a reason, and nothing in it is run."""

import json
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from model.importing import checkpoint_file, pickle_reader
from model.importing.checkpoint_file import ImportRefusedError, read_tensors
from tests.factories_checkpoints import make_state, save_lightning


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.fixture
def trap(tmp_path):
    """A file that is there afterwards if anything was run."""
    path = tmp_path / "was-run"
    yield path
    assert not path.exists()


def refusal(path):
    """Return why a file was refused: one sentence that names it."""
    with pytest.raises(ImportRefusedError) as refused:
        read_tensors(path)
    sentence = str(refused.value)
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def write_zip(path, pickled, entries=(), *, method=zipfile.ZIP_STORED, folder="archive"):
    """Write a zip file of torch around a pickle."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/version", "3\n")
        for name, content in entries:
            archive.writestr(name, content)
    return path


def pickle_tensor(*, key="0", length=6, offset=0, shape=(2, 3), strides=(3, 1)):
    """Return a pickle of {"weight": a tensor}, as torch writes one, with any numbers."""
    return b"".join(
        [
            b"\x80\x02}X\x06\x00\x00\x00weight",
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage",
            b"ctorch\nFloatStorage\n",
            b"X" + struct.pack("<I", len(key)) + key.encode(),
            b"X\x03\x00\x00\x00cpu" + pickle.dumps(length, 2)[2:-1] + b"tQ",
            pickle.dumps(offset, 2)[2:-1],
            b"(" + b"".join(pickle.dumps(size, 2)[2:-1] for size in shape) + b"t",
            b"(" + b"".join(pickle.dumps(size, 2)[2:-1] for size in strides) + b"t",
            b"\x89ccollections\nOrderedDict\n)RtRs.",
        ]
    )


SIX = ("archive/data/0", torch.arange(6.0).numpy().tobytes())


def test_the_pickles_of_these_tests_are_sound(tmp_path):
    read = read_tensors(write_zip(tmp_path / "file.pt", pickle_tensor(), [SIX]))

    assert torch.equal(read.tensors["weight"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(torch.load(tmp_path / "file.pt")["weight"], read.tensors["weight"])


TRAPS = {
    "system": lambda trap: Calls(os.system, f"touch {trap}"),
    "exec": lambda trap: Calls(exec, f"open({str(trap)!r}, 'w')"),
    "eval": lambda trap: Calls(eval, f"open({str(trap)!r}, 'w')"),
    "open": lambda trap: Calls(open, str(trap), "w"),
    "subprocess": lambda trap: Calls(subprocess.Popen, ["touch", str(trap)]),
    "getattr": lambda _trap: Calls(getattr, Calls(open, os.devnull), "write"),
}


@pytest.mark.parametrize("make", TRAPS.values(), ids=TRAPS)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("place", ["beside", "inside", "as a key"])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, trap, make, is_zip, place):
    table = OrderedDict(weight=torch.ones(2))
    content = {"state_dict": table, "epoch": 1}
    if place == "beside":
        content["callbacks"] = make(trap)
    elif place == "inside":
        table["more"] = make(trap)
    else:
        content[make(trap)] = 1
    path = tmp_path / "file.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)

    assert "could run code on the machine. Nothing of it was run" in refusal(path)


def test_a_plain_pickle_of_code_is_refused(tmp_path, trap):
    path = tmp_path / "file.bin"
    path.write_bytes(pickle.dumps(Calls(os.system, f"touch {trap}")))

    assert "could run code" in refusal(path)


def test_code_behind_a_persistent_id_is_refused(tmp_path, trap):
    pickled = (
        b"\x80\x02(X\x07\x00\x00\x00storage"
        + (
            b"cposix\nsystem\n(X"
            + struct.pack("<I", len(f"touch {trap}"))
            + f"touch {trap}".encode()
        )
        + b"tRX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ."
    )

    assert "could run code" in refusal(write_zip(tmp_path / "file.pt", pickled, [SIX]))


@pytest.mark.parametrize(
    ("pickled", "why"),
    [
        (b"\x80\x02X\x04\x00\x00\x00evilQ.", "no storage of a tensor"),
        (b"\x80\x02(X\x06\x00\x00\x00modulectorch\nX\nX\x01\x00\x00\x000K\x01K\x01tQ.", "outside"),
        (b"\x80\x02ctorch\nload\n(X\x01\x00\x00\x00ftR.", "torch.load"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n(C\x01ftR.", "_load_from_bytes"),
        (b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93.", "os.system"),
        (b"\x80\x02csome\nThing\n)R)R.", "calls what is no name"),
        (b"\x80\x02(cos\nsystem\no.", "os.system"),
        (b"\x80\x02(ios\nsystem\n.", "os.system"),
        (b"\x80\x02\x82\x01.", "opcode"),
    ],
)
def test_every_other_way_to_code_is_refused(tmp_path, pickled, why):
    assert why in refusal(write_zip(tmp_path / "file.pt", pickled, [SIX]))


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"shape": (3, 3)}, "reaches outside its storage"),
        ({"offset": 1}, "reaches outside its storage"),
        ({"strides": (4, 1)}, "reaches outside its storage"),
        ({"shape": (10**6, 10**6), "strides": (0, 0)}, "reaches outside its storage"),
        ({"shape": (-1, 3)}, "not made of whole numbers"),
        ({"strides": (-1, 1)}, "not made of whole numbers"),
        ({"shape": (2, 3, 1)}, "3 dimensions wrongly"),
        ({"length": 7}, "declared to have 28 bytes, but has 24"),
        ({"length": 2**40}, "declared to have"),
        ({"length": -1}, "storage of -1 elements"),
        ({"key": "1"}, "lacks the numbers of the storage '1'"),
        ({"key": "../0"}, "storage '../0'"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path, numbers, why):
    assert why in refusal(write_zip(tmp_path / "file.pt", pickle_tensor(**numbers), [SIX]))


def test_one_storage_seen_in_too_many_tensors_is_refused(tmp_path):
    grid = torch.zeros(64, 64)
    torch.save({f"weight{n}": grid.t() for n in range(20)}, tmp_path / "file.pt")

    assert "more than a file of its size may hold" in refusal(tmp_path / "file.pt")


DAMAGED_PICKLES = {
    "nothing": b"",
    "no value": b"\x80\x02.",
    "ends early": b"\x80\x02X\xff\x00\x00\x00abc",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc",
    "a number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f1",
    "a value never made": b"\x80\x02h\x07.",
    "a group without start": b"\x80\x02t.",
    "a memo of 4 billion": b"\x80\x02Nr\xff\xff\xff\xff.",
    "appends to a number": b"\x80\x02K\x01K\x02a.",
    "sets items of a number": b"\x80\x02K\x01K\x02K\x03s.",
    "an odd group": b"\x80\x02}(K\x01u.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "deep tuples as a key": b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.",
    "a name without end": b"\x80\x02cabc",
    "protocol 9": b"\x80\x09N.",
    "digits of a kilobyte": b"\x80\x02I" + b"9" * 1000 + b"\n.",
    "no digits": b"\x80\x02Ione\n.",
    "no table": b"\x80\x02K\x01.",
    "an empty table": b"\x80\x02}.",
    "lists in lists": b"\x80\x02]" + b"]" * 200_000 + b"a" * 200_000 + b".",
}


@pytest.mark.parametrize("pickled", DAMAGED_PICKLES.values(), ids=DAMAGED_PICKLES)
def test_a_damaged_pickle_is_refused(tmp_path, pickled):
    refusal(write_zip(tmp_path / "file.pt", pickled))


def test_a_pickle_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_reader, "MOST_OPCODES", 1000)

    assert "1000 steps" in refusal(write_zip(tmp_path / "file.pt", b"\x80\x02" + b"N" * 2000))


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_file, "MOST_TENSORS", 3)
    torch.save({str(n): torch.ones(1) for n in range(4)}, tmp_path / "file.pt")

    assert "more than 3 tensors" in refusal(tmp_path / "file.pt")


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "archive/../../escaped"])
def test_a_zip_with_path_tricks_is_refused(tmp_path, name):
    path = write_zip(tmp_path / "file.pt", pickle_tensor(), [SIX, (name, b"x")])

    assert "points outside" in refusal(path)
    assert [each.name for each in tmp_path.rglob("*")] == ["file.pt"]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    zeros = ("archive/data/0", bytes(50_000_000))
    pickled = pickle_tensor(length=12_500_000)
    path = write_zip(tmp_path / "file.pt", pickled, [zeros], method=zipfile.ZIP_DEFLATED)

    assert path.stat().st_size < 100_000
    assert "compressed, which torch.save never does" in refusal(path)


def test_a_zip_that_claims_more_than_it_has_is_refused(tmp_path):
    path = write_zip(tmp_path / "file.pt", pickle_tensor(), [SIX])
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(raw)

    refusal(path)


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_zip(path, pickle_tensor(), [SIX, SIX])

    assert "two entries of the name" in refusal(path)


def test_a_directory_of_a_million_entries_is_refused(tmp_path):
    path = write_zip(tmp_path / "file.pt", pickle_tensor(), [SIX])
    raw = bytearray(path.read_bytes())
    raw[-12:-6] = struct.pack("<HI", 0xFFFF, 2**31)
    path.write_bytes(raw)

    assert "which is too many" in refusal(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "neither"),
        (b"<!DOCTYPE html><html>Sign in</html>", "neither"),
        (b"PK\x03\x04", "no end"),
        (b"PK\x05\x06" + bytes(18), "neither"),
        (b"\x80", "truncated"),
        (b"\x80\x02K\x01.", "not one of torch.save"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, why):
    path = tmp_path / "file.ckpt"
    path.write_bytes(content)

    assert why in refusal(path)


def test_a_folder_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert "it is a folder" in refusal(tmp_path)
    assert "it is not a file" in refusal(tmp_path / "pipe")


def test_other_zip_files_are_refused(tmp_path):
    write_zip(tmp_path / "program.pt", pickle_tensor(), [("archive/constants.pkl", b"")])
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", b"x")

    assert "TorchScript program" in refusal(tmp_path / "program.pt")
    assert "not one of torch.save" in refusal(tmp_path / "photos.zip")


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before 1.6"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, is_zip):
    whole = tmp_path / "whole.pt"
    torch.save({"weight": torch.randn(40, 5)}, whole, _use_new_zipfile_serialization=is_zip)
    raw = whole.read_bytes()
    cut = tmp_path / "cut.pt"
    for length in range(0, len(raw), 13):
        cut.write_bytes(raw[:length])
        refusal(cut)


def test_a_changed_number_in_a_zip_is_noticed(tmp_path):
    path = save_lightning(tmp_path / "file.ckpt", make_state())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)

    assert "damaged" in refusal(path)


def write_safetensors(path, header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(start, end, *, dtype="F32", shape=(2,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
TWICE += b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
HEADERS = {
    "overlapping": ({"a": entry(0, 8), "b": entry(4, 12)}, "overlaps"),
    "beyond the end": ({"a": entry(8, 16)}, "beyond the end"),
    "far beyond": ({"a": entry(2**62, 2**62 + 8)}, "wrongly"),
    "other type": ({"a": entry(0, 8, dtype="F64")}, "do not fit F64"),
    "other shape": ({"a": entry(0, 8, shape=(3,))}, "do not fit F32"),
    "unknown type": ({"a": entry(0, 8, dtype="EVIL")}, "is of the type 'EVIL'"),
    "backwards": ({"a": entry(8, 0)}, "ends before it starts"),
    "negative": ({"a": entry(-8, 0)}, "wrongly"),
    "huge shape": ({"a": entry(0, 8, shape=(2**40, 2**40))}, "do not fit"),
    "texts for numbers": ({"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}}, "wrongly"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, "wrongly"),
    "no entry": ({"a": 3}, "wrongly"),
    "a list": (b"{]", "not JSON"),
    "twice": (TWICE, "twice"),
    "deep": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not JSON"),
    "no text": (b"{\xff\xfe}", "not JSON"),
    "metadata of numbers": ({"__metadata__": {"a": 1}, "a": entry(0, 8)}, "metadata"),
    "a hole": ({"a": entry(4, 12)}, "not a sound safetensors file"),
}


@pytest.mark.parametrize(("header", "why"), HEADERS.values(), ids=HEADERS)
def test_a_hostile_safetensors_header_is_refused(tmp_path, header, why):
    path = write_safetensors(tmp_path / "file.safetensors", header, bytes(12))

    assert why in refusal(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 100, 0])
def test_a_header_of_another_length_than_it_says_is_refused(tmp_path, length):
    path = write_safetensors(tmp_path / "file.safetensors", {"a": entry(0, 8)}, bytes(8))
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])

    refusal(path)


def test_truncated_safetensors_are_refused(tmp_path):
    save_file({"weight": torch.randn(20, 5)}, tmp_path / "whole.safetensors")
    raw = (tmp_path / "whole.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(0, len(raw), 7):
        cut.write_bytes(raw[:length])
        refusal(cut)
