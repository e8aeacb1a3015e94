"""Saved models to be taken over, broken, and refused."""

import shutil

import pytest

from model.image_text.adding import add_model
from model.importing.errors import ImportRefusedError
from tests.factories_image_text import save_clip, save_siglip, save_siglip2


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return {
        "clip": save_clip(folder / "clip"),
        "siglip": save_siglip(folder / "siglip"),
        "naflex": save_siglip2(folder / "naflex"),
    }


@pytest.fixture
def copy(saved, tmp_path):
    """Copy a saved model to break it."""
    return lambda kind="clip": shutil.copytree(saved[kind], tmp_path / kind)


@pytest.fixture
def refused(tmp_path):
    """Tell why a model was refused, once it is sure that nothing is left of it."""

    def refuse(source, **options):
        out = tmp_path / "out" / "bundle"
        with pytest.raises(ImportRefusedError) as error:
            add_model(str(source), out, **options)
        assert not out.exists()
        assert not out.parent.exists() or not any(out.parent.iterdir())
        assert str(error.value).endswith(".")
        return str(error.value)

    return refuse
