"""Files of others give the same tensors as torch would, and nothing in them is run."""

import argparse
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.importing.checkpoint_file import ImportRefusedError, read_tensors
from tests.factories_checkpoints import make_state, save_lightning

FORMS = {
    "zip": {},
    "before 1.6": {"_use_new_zipfile_serialization": False},
    "protocol 4": {"pickle_protocol": 4},
    "protocol 5": {"pickle_protocol": 5},
}


@pytest.fixture
def table():
    """Tensors of all the kinds and layouts that files of weights hold."""
    grid = torch.arange(20.0).reshape(4, 5)
    return OrderedDict(
        plain=torch.randn(3, 4),
        half=torch.randn(3).half(),
        brain=torch.randn(3).bfloat16(),
        double=torch.randn(2, dtype=torch.float64),
        whole=torch.arange(4)[None],
        truth=torch.tensor([True, False]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        part_of_another=grid[1],
        turned=grid.t(),
        parameter=torch.nn.Parameter(torch.randn(2)),
    )


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_every_form_of_torch_gives_the_same_tensors(tmp_path, table, options):
    torch.save({"state_dict": table, "epoch": 3}, tmp_path / "file.pt", **options)

    read = read_tensors(tmp_path / "file.pt").tensors

    assert list(read) == list(table)
    for name, tensor in table.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert torch.equal(read[name], tensor.detach())


def test_safetensors_give_the_same_tensors(tmp_path, table):
    stored = {name: tensor.detach().clone().contiguous() for name, tensor in table.items()}
    save_file(stored, tmp_path / "file.safetensors", metadata={"format": "pt"})

    tensors, metadata = read_tensors(tmp_path / "file.safetensors")

    assert metadata["noted"] == {"format": "pt"}
    assert all(torch.equal(tensors[name], stored[name]) for name in stored)
    assert tensors.keys() == stored.keys()


def test_a_lightning_file_gives_its_weights_and_tells_of_the_rest(tmp_path):
    state = make_state()
    path = save_lightning(tmp_path / "last.ckpt", state)

    tensors, metadata = read_tensors(path)

    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert metadata["table"] == "state_dict"
    assert metadata["noted"]["epoch"] == 7
    assert metadata["noted"]["hyper_parameters"]["config"]["num_frames"] == 3
    assert "optimizer_states" in metadata["others"]


@pytest.mark.parametrize("holder", ["state_dict", "model", "model_state_dict", "module", None])
def test_the_table_is_found_wherever_trainers_put_it(tmp_path, holder):
    table = {"weight": torch.ones(2)}
    torch.save({holder: table, "epoch": 1} if holder else table, tmp_path / "file.pt")

    tensors, metadata = read_tensors(tmp_path / "file.pt")

    assert tensors.keys() == {"weight"}
    assert metadata["table"] == (holder or "")


def test_what_is_no_tensor_in_the_table_is_named(tmp_path):
    torch.save({"weight": torch.ones(2), "version": 3}, tmp_path / "file.pt")

    tensors, metadata = read_tensors(tmp_path / "file.pt")

    assert tensors.keys() == {"weight"}
    assert metadata["not_tensors"] == ["version"]


def test_objects_of_other_libraries_are_passed_over(tmp_path):
    others = {
        "options": argparse.Namespace(learning_rate=1e-4),
        "score": np.float64(0.5),
        "curve": np.arange(3),
        "names": {"a", "b"},
        "where": tmp_path,
        "size": torch.Size([2, 3]),
        "kind": torch.float16,
    }
    torch.save({"state_dict": {"weight": torch.ones(2)}, **others}, tmp_path / "file.pt")

    tensors, metadata = read_tensors(tmp_path / "file.pt")

    assert tensors.keys() == {"weight"}
    assert metadata["noted"]["options"] == "<argparse.Namespace>"


def test_states_of_the_optimiser_stay_in_the_file(tmp_path):
    """A table of 4 numbers is read although what lies beside it takes far more."""
    beside = [{"state": {n: {"exp_avg": torch.zeros(1000)} for n in range(50)}}]
    torch.save(
        {"state_dict": {"weight": torch.ones(4)}, "optimizer_states": beside}, tmp_path / "file.pt"
    )

    assert (
        sum(tensor.nbytes for tensor in read_tensors(tmp_path / "file.pt").tensors.values()) == 16
    )


def test_a_file_that_is_not_there_is_a_refusal(tmp_path):
    with pytest.raises(ImportRefusedError, match="cannot be read: No such file"):
        read_tensors(tmp_path / "nowhere.ckpt")
