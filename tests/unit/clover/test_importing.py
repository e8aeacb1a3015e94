"""Files of others become bundles, every key accounted for; what does not fit is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file

from model.adapting import adapt
from model.bundle import load_bundle, load_trainable
from model.bundle_files import CARD
from model.clover.importing import import_checkpoint, import_parts
from model.importing.errors import ImportRefusedError
from tests.factories_clover import CLOVER_PREPROCESSING, TINY_CLOVER, make_tiny_clover
from tests.factories_clover_files import bert, published_clover, save_bert_folder, video_swin

SIZES = {"frames": 4, "frame_size": 32}
TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
INDEX = "layers.0.blocks.0.attn.relative_position_index"


@pytest.fixture
def swin_file(tmp_path):
    torch.save({"meta": {"epoch": 30}, "state_dict": video_swin()}, tmp_path / "swin.pth")
    return tmp_path / "swin.pth"


@pytest.fixture
def bert_folder(tmp_path):
    return save_bert_folder(tmp_path / "bert", bert())


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"meta": {}, "state_dict": published_clover()}, tmp_path / "clover.pth")
    return tmp_path / "clover.pth"


@pytest.fixture
def words(bert_folder):
    return str(bert_folder / "vocab.txt")


def saved(path, state):
    torch.save(state, path)
    return path


def stored(folder):
    return load_file(folder / "model.safetensors")


def assert_taken(state, network, *beginnings, tolerance=0.0):
    wanted = network.state_dict()
    for name, tensor in state.items():
        if name.startswith(beginnings):
            torch.testing.assert_close(tensor, wanted[name], atol=tolerance, rtol=0, msg=name)


def test_parts_become_a_network_that_is_to_be_trained(swin_file, bert_folder, tmp_path):
    import_parts(swin_file, bert_folder, tmp_path / "made", **SIZES)
    loaded = load_bundle(tmp_path / "made")
    assert not loaded.spec.has_retriever
    assert not loaded.spec.has_matcher
    trainable = load_trainable(tmp_path / "made")
    dims = trainable.dims
    for name in ("embed_width", "depths", "heads", "window", "width", "text_depth", "text_heads"):
        assert getattr(dims, name) == getattr(TINY_CLOVER, name), name
    assert (dims.max_text_tokens, dims.fusion_depth) == (64, 2)
    assert trainable.preprocessing.frames_per_clip == 4
    card = json.loads((tmp_path / "made" / CARD).read_text())
    assert card["imported_from"]["video_encoder"]["file"] == "swin.pth"
    assert "never trained together" in card["import"]["notes"][-1]


def test_parts_keep_their_weights(swin_file, bert_folder, tmp_path):
    import_parts(swin_file, bert_folder, tmp_path / "made", **SIZES)
    state, network = stored(tmp_path / "made"), make_tiny_clover()
    table = "text.embeddings.position_embeddings.weight"
    assert (state.pop(table)[:16] == network.state_dict()[table]).all()
    assert_taken(state, network, "text.", "pooler.", "mlm_head.transform.", "mlm_head.bias")
    state.pop("video.mask_token")
    assert_taken(state, network, "video.")
    words = state["text.embeddings.word_embeddings.weight"]
    assert (state["mlm_head.decoder.weight"] == words).all()
    for name, tensor in state.items():
        if name.startswith("fusion.layers."):
            assert (tensor == state[name.replace("fusion.", "text.")]).all(), name


def test_the_report_accounts_for_every_key(swin_file, bert_folder, tmp_path):
    report = import_parts(swin_file, bert_folder, tmp_path / "made", **SIZES)
    assert {*report.renamed, *report.ignored} == {*video_swin(), *bert()}
    assert not {*report.renamed} & {*report.ignored}
    assert report.ignored["cls_head.fc_cls.weight"] == "head that names actions"
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert report.renamed[query] == (
        "text.layers.0.attn.qkv.weight and fusion.layers.0.attn.qkv.weight"
    )
    fresh = (
        "fusion.fc_in",
        "fusion.space",
        "fusion.time",
        "fusion.mod",
        "fusion.norm",
        "video.mask",
    )
    assert report.made
    assert all(name.startswith(fresh) for name in report.made)


def test_other_layouts_of_the_same_parts_give_the_same_bundle(swin_file, bert_folder, tmp_path):
    import_parts(swin_file, bert_folder, tmp_path / "one", **SIZES)
    bare = saved(tmp_path / "bare.pth", video_swin(prefix=""))
    other = save_bert_folder(tmp_path / "other", bert(prefix=""), container="model.safetensors")
    import_parts(bare, other / "model.safetensors", tmp_path / "two", **SIZES)
    one, two = stored(tmp_path / "one"), stored(tmp_path / "two")
    assert all((one[name] == two[name]).all() for name in one)


def test_a_window_can_be_told_without_its_constants(bert_folder, tmp_path):
    state = {name: tensor for name, tensor in video_swin().items() if "index" not in name}
    import_parts(saved(tmp_path / "swin.pth", state), bert_folder, tmp_path / "made", **SIZES)
    assert load_trainable(tmp_path / "made").dims.window == TINY_CLOVER.window


def test_a_bert_without_its_configuration_has_heads_of_64(swin_file, bert_folder, tmp_path):
    (bert_folder / "config.json").unlink()
    import_parts(swin_file, bert_folder, tmp_path / "made", **SIZES)
    assert load_trainable(tmp_path / "made").dims.text_heads == 1


def test_a_bert_without_its_head_gives_a_network_without_one(swin_file, tmp_path):
    encoder = save_bert_folder(tmp_path / "bert", bert(prefix="", has_head=False))
    import_parts(swin_file, encoder, tmp_path / "made", **SIZES)
    assert not load_trainable(tmp_path / "made").dims.has_mlm_head


def _swin_with(edit):
    state = video_swin()
    edit(state)
    return state


@pytest.mark.parametrize(("edit", "message"), [
    (lambda s: s.pop("backbone.norm.weight"), "lacks 'norm.weight'"),
    (lambda s: s.update({"backbone.extra": torch.ones(2)}), "has 'backbone.extra', which no Video"),
    (lambda s: s["backbone.norm.bias"].fill_(float("nan")), "numbers that are not finite"),
    (lambda s: s.update({"backbone.norm.bias": torch.ones(3)}), r"shape \(3,\), not \(32,\)"),
    (lambda s: s.update({"backbone.norm.bias": torch.ones(32).int()}), "holds torch.int32"),
    (lambda s: s.update({"backbone.patch_embed.proj.weight": torch.ones(16, 3, 4, 4)}),
     "is a Swin for images"),
    (lambda s: s.pop("backbone.patch_embed.proj.weight"), "is of another network"),
    (lambda s: s.update({"backbone.patch_embed.proj.weight": torch.ones(16, 3, 2, 4, 5)}),
     "reads no square patches"),
    (lambda s: s.update({f"backbone.layers.{n}.x": torch.ones(1) for n in range(9)}),
     "it has 9 stages"),
    (lambda s: s.update({f"backbone.{TABLE}": torch.ones(6, 2)}), "no square window has the 6"),
    (lambda s: s.update({f"backbone.{INDEX}": torch.tensor(1)}), r"shape \(\), not one of 2"),
    (lambda s: s.update({"norm.weight": torch.ones(32)}), "holds both 'backbone.norm.weight' and"),
])  # fmt: skip
def test_a_video_encoder_that_does_not_fit_is_refused(bert_folder, tmp_path, edit, message):
    path = saved(tmp_path / "swin.pth", _swin_with(edit))
    with pytest.raises(ImportRefusedError, match=message):
        import_parts(path, bert_folder, tmp_path / "made", **SIZES)
    assert not (tmp_path / "made").exists()


def test_a_text_encoder_that_does_not_fit_is_refused(swin_file, tmp_path):
    other = save_bert_folder(tmp_path / "relu", bert(), hidden_act="relu")
    with pytest.raises(ImportRefusedError, match="hidden_act is 'relu', not 'gelu'"):
        import_parts(swin_file, other, tmp_path / "made", **SIZES)
    state = bert()
    state["bert.encoder.layer.0.attention.self.distance_embedding.weight"] = torch.ones(2)
    other = save_bert_folder(tmp_path / "relative", state)
    with pytest.raises(ImportRefusedError, match=r"distance_embedding.weight', which no BERT"):
        import_parts(swin_file, other, tmp_path / "made", **SIZES)
    (other / "config.json").write_text("[")
    with pytest.raises(ImportRefusedError, match=r"config.json is not JSON"):
        import_parts(swin_file, other, tmp_path / "made", **SIZES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportRefusedError, match=r"holds neither model.safetensors nor"):
        import_parts(swin_file, tmp_path / "empty", tmp_path / "made", **SIZES)


def _import(checkpoint, words, folder, **options):
    return import_checkpoint(checkpoint, folder, tokenizer=words, text_heads=4, **options)


@torch.inference_mode()
def test_a_published_checkpoint_computes_what_it_did(checkpoint, words, tmp_path):
    """The published network reads blue first, ours red first."""
    _import(checkpoint, words, tmp_path / "made")
    loaded, network = load_bundle(tmp_path / "made", precision="float32"), make_tiny_clover()
    assert loaded.spec.has_retriever
    assert not loaded.spec.has_matcher
    clips = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    blue_first = CLOVER_PREPROCESSING.normalise(clips).flip(2)
    video = network.embed_video(blue_first)
    torch.testing.assert_close(loaded.embed_video(clips), video, atol=5e-6, rtol=0)
    tokens = loaded.tokenize(["a red dog", "the ball"])
    text = network.embed_text(tokens.ids, tokens.mask)
    torch.testing.assert_close(loaded.embed_text(tokens), text, atol=5e-6, rtol=0)


def test_a_published_checkpoint_keeps_all_of_its_weights(checkpoint, words, tmp_path):
    report = _import(checkpoint, words, tmp_path / "made", channels="rgb")
    state, network = stored(tmp_path / "made"), make_tiny_clover()
    assert network.state_dict().keys() - state.keys() == {
        "matching_head.fc.weight",
        "matching_head.fc.bias",
    }
    assert_taken(state, network, "")
    assert {*report.renamed, *report.ignored} == {*published_clover()}
    assert report.made == {}


def test_clips_longer_than_those_of_a_checkpoint_can_be_trained(checkpoint, words, tmp_path):
    report = _import(checkpoint, words, tmp_path / "made", frames=12)
    bundle = load_trainable(tmp_path / "made")
    assert bundle.preprocessing.frames_per_clip == bundle.dims.frames == 12
    positions = bundle.network.fusion.time_positions.detach()
    assert (positions[:, :2] == make_tiny_clover().fusion.time_positions).all()
    assert positions[:, 2:].std() == pytest.approx(0.02, rel=0.3)
    assert "those of 4 more were drawn" in " ".join(report.notes)


def test_a_checkpoint_tuned_for_retrieval_lacks_other_heads(words, tmp_path):
    path = saved(tmp_path / "tuned.pth", {"state_dict": published_clover(is_tuned=True)})
    report = _import(path, words, tmp_path / "made")
    dims = load_trainable(tmp_path / "made").dims
    assert dims.has_projections
    assert not dims.has_joint_heads
    assert not dims.has_mlm_head
    assert list(report.made) == ["video.mask_token"]


def test_a_checkpoint_that_does_not_fit_is_refused(words, tmp_path):
    state = published_clover()
    state["multimodal_backbone.vis_space_pos"] = torch.zeros(1, 1, 15, 48)
    path = saved(tmp_path / "wrong.pth", state)
    with pytest.raises(ImportRefusedError, match="has the shape"):
        _import(path, words, tmp_path / "made")
    del state["multimodal_backbone.vis_space_pos"]
    with pytest.raises(ImportRefusedError, match="is of another network"):
        _import(saved(tmp_path / "less.pth", state), words, tmp_path / "made")
    path = saved(tmp_path / "whole.pth", published_clover())
    with pytest.raises(ImportRefusedError, match="frames 999 is over 256"):
        _import(path, words, tmp_path / "made", frames=999)


def test_training_adds_the_heads_that_an_import_lacks(swin_file, bert_folder, tmp_path):
    import_parts(swin_file, bert_folder, tmp_path / "made", **SIZES)
    bundle = load_trainable(tmp_path / "made")
    captions = ["a red dog", "an unheard word"]
    adapted, _ = adapt(bundle, captions, needs_joint_heads=True, dropout=0.0, seed=0)
    network, state = adapted.network, bundle.network.state_dict()
    assert_taken(state, network, "video.", "text.layers.", "fusion.", "mlm_head.transform.")
    ids = torch.ones(2, 5, dtype=torch.int64)
    words = network.text_tokens(ids, ids > 0)
    fused = network.join(words, ids > 0, network.visual_tokens(torch.randn(2, 4, 3, 32, 32)))
    assert network.match_logits(fused).shape == (2, 2)
    assert network.joint_text(fused).shape == (2, bundle.dims.projection)
