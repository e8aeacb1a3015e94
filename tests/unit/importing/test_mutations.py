"""However a good file is changed, it is either read or refused: nothing else ever comes out."""

import io
import zipfile
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from model.importing.checkpoint_file import ImportRefusedError, read_tensors

EXAMPLES = 150
TABLE = {"one": torch.randn(3, 4), "two": torch.arange(5), "three": torch.randn(4, 3).t()}


def write_torch(*, is_zip):
    stream = io.BytesIO()
    content = {"state_dict": TABLE, "epoch": 3, "names": {(1, "a"): [None, 0.5]}}
    torch.save(content, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


GOOD = {
    "zip": write_torch(is_zip=True),
    "before 1.6": write_torch(is_zip=False),
    "safetensors": save({name: tensor.contiguous() for name, tensor in TABLE.items()}),
}

places = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("set"), places, st.integers(0, 255)),
        st.tuples(st.just("flip"), places, st.integers(0, 7)),
        st.tuples(st.just("cut"), places, st.integers(1, 50)),
        st.tuples(st.just("double"), places, st.integers(1, 50)),
        st.tuples(st.just("end"), places, st.just(0)),
    ),
    min_size=1,
    max_size=6,
)


def change(good, made):
    """Return the file after some changes."""
    raw = bytearray(good)
    for kind, share, amount in made:
        place = int(share * len(raw))
        if not raw:
            break
        if kind == "set":
            raw[place] = amount
        elif kind == "flip":
            raw[place] ^= 1 << amount
        elif kind == "cut":
            del raw[place : place + amount]
        elif kind == "double":
            raw[place:place] = raw[place : place + amount]
        else:
            del raw[place:]
    return bytes(raw)


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=changes)
def test_a_changed_file_is_read_or_refused(tmp_path, good, made):
    path = tmp_path / "file"
    path.write_bytes(change(good, made))

    with suppress(ImportRefusedError):
        tensors = read_tensors(path).tensors
        assert all(tensor.numel() <= len(good) for tensor in tensors.values())


def test_every_byte_of_a_pickle_may_be_any_step(tmp_path):
    """The checksum of a zip file would notice it, so the pickle is packed again each time."""
    path = tmp_path / "file"
    with zipfile.ZipFile(io.BytesIO(GOOD["zip"])) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    (name,) = [name for name in entries if name.endswith("data.pkl")]
    good, steps = entries[name], (b".", b"(", b"R", b"c", b"t", b"s", b"\xff")
    num_refused = 0
    for place in range(len(good)):
        entries[name] = good[:place] + steps[place % len(steps)] + good[place + 1 :]
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in entries.items():
                archive.writestr(each, content)
        try:
            read_tensors(path)
        except ImportRefusedError:
            num_refused += 1
    assert num_refused > len(good) // 3


def test_every_byte_of_an_old_file_may_be_any_step(tmp_path):
    path, good = tmp_path / "file", GOOD["before 1.6"]
    num_refused = 0
    for place in range(0, len(good), 2):
        path.write_bytes(good[:place] + b".pR(\xff"[place % 5 : place % 5 + 1] + good[place + 1 :])
        try:
            read_tensors(path)
        except ImportRefusedError:
            num_refused += 1
    assert num_refused > len(good) // 6
