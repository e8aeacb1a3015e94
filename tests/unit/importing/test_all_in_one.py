"""A published All-in-One file becomes a bundle that computes what the network did, to the bit."""

from dataclasses import replace

import pytest
import torch

from model.all_in_one.dims import BASE, SMALL, TINY
from model.all_in_one.network import assemble
from model.bundle import load_bundle
from model.bundle_files import read_json
from model.importing.all_in_one import fit, import_all_in_one
from model.importing.checkpoint_file import ImportRefusedError, read_tensors
from tests.factories_checkpoints import (
    SMALL_DIMS,
    make_published_state,
    make_state,
    save_lightning,
    write_words,
)
from tests.factories_model import make_tiny_network, make_tokenizer

TEXTS = ["a red circle moves", "dog"]
PUBLISHED = {"tiny": TINY, "small": SMALL, "base": BASE}


@pytest.fixture
def words(tmp_path):
    """The tokenizer of the small networks, as a file."""
    path = tmp_path / "tokenizer.json"
    path.write_text(make_tokenizer().to_str())
    return str(path)


@pytest.fixture
def bring(tmp_path, words):
    """Save a table of weights as Lightning does and import it: `bring(state, frames=5)`."""

    def bring(state, **options):
        path = save_lightning(tmp_path / "last.ckpt", state)
        report = import_all_in_one(path, tmp_path / "bundle", tokenizer=words, **options)
        return report, load_bundle(tmp_path / "bundle", precision="float32")

    return bring


@pytest.fixture
def refuse(tmp_path, words):
    """Return why a table of weights is not imported; nothing may be written."""

    def refuse(state, **options):
        path = save_lightning(tmp_path / "last.ckpt", state)
        with pytest.raises(ImportRefusedError) as refused:
            import_all_in_one(path, tmp_path / "bundle", tokenizer=words, **options)
        assert not (tmp_path / "bundle").exists()
        assert str(refused.value).endswith(".")
        return str(refused.value)

    return refuse


def random_clips(frames=3, side=32):
    generator = torch.Generator().manual_seed(1)
    shape = (len(TEXTS), frames, side, side, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@torch.inference_mode()
def outputs_of(network, imported, clips):
    """Return what a network of ours computes for TEXTS and clips, as a bundle would tell it."""
    network.requires_grad_(requires_grad=False)  # torch has other kernels for what is trained
    tokens = imported.tokenize(TEXTS)
    frames = imported._preprocessing.normalise(clips)  # noqa: SLF001 (the same pixels for both)
    odds = network.match(tokens.ids, tokens.mask, network.visual_tokens(frames)).diff()[:, 0]
    return network.embed_text(tokens.ids, tokens.mask), network.embed_video(frames), odds


def test_an_imported_file_computes_what_its_network_did_to_the_bit(bring):
    report, imported = bring(make_state(seed=3))
    clips = random_clips()

    tokens = imported.tokenize(TEXTS)
    text, video, odds = outputs_of(make_tiny_network(3, SMALL_DIMS), imported, clips)
    assert torch.equal(imported.embed_text(tokens), text)
    assert torch.equal(imported.embed_video(clips), video)
    assert torch.equal(imported.match(tokens, clips), odds)
    assert report.ignored.keys() == {"text_embeddings.position_ids"}
    assert not report.renamed
    assert not report.made


@pytest.mark.parametrize(
    "size",
    [
        "tiny",
        pytest.param("small", marks=pytest.mark.slow),
        pytest.param("base", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("variant", [None, "vtc_plus_ranking_finetune"])
def test_a_file_with_the_published_keys_becomes_that_network(tmp_path, size, variant):
    state = make_published_state(size, variant)
    path = save_lightning(tmp_path / "whatever-it-is-called.ckpt", state)

    fitted = fit(read_tensors(path))

    is_tuned = variant is not None
    assert fitted.dims == replace(
        PUBLISHED[size], has_projections=is_tuned, has_mlm_head=not is_tuned, has_rank_head=is_tuned
    )
    assert f"All-in-One {size}" in fitted.report.recognised
    assert ("distilled" in fitted.report.recognised) == (size == "small")
    told = {*fitted.report.used, *fitted.report.ignored}
    assert told == state.keys()
    network = assemble(fitted.dims)
    network.load_state_dict(fitted.state)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])


@pytest.mark.slow
def test_a_published_tiny_file_is_imported_with_a_list_of_words(tmp_path):
    path = save_lightning(tmp_path / "tiny.ckpt", make_published_state("tiny", "vtc_finetune"))
    words = write_words(tmp_path / "vocab.txt", TINY.vocabulary)

    import_all_in_one(path, tmp_path / "bundle", tokenizer=str(words))

    spec = load_bundle(tmp_path / "bundle", precision="float32").spec
    assert (spec.resize_short, spec.frame_size, spec.frames_per_clip) == (268, 224, 3)
    assert (spec.has_retriever, spec.has_matcher, spec.embedding_dim) == (True, False, 512)


def test_a_pretrained_file_is_a_matcher_only_and_says_what_to_do(bring):
    report, imported = bring(make_state(dims=replace(SMALL_DIMS, has_projections=False)))

    assert not imported.spec.has_retriever
    assert imported.spec.has_matcher
    (said,) = [note for note in report.notes if "matcher only" in note]
    assert "reelseek train" in said
    assert "--matcher" in said


def test_a_file_of_the_cotraining_code_is_known_by_its_matching_head(bring, tmp_path):
    state = make_state()
    for name in ("weight", "bias"):
        state[f"vtm_score.fc.{name}"] = state.pop(f"itm_score.fc.{name}")

    report, imported = bring(state, normalisation="v100")

    assert report.recognised.startswith("All-in-One of width 128+")
    assert report.renamed["vtm_score.fc.weight"] == "itm_score.fc.weight"
    assert imported.spec.mean == (0.45, 0.45, 0.45)
    assert imported.spec.std == (0.225, 0.225, 0.225)
    assert any("--normalisation v100" in note for note in report.notes)
    card = read_json(tmp_path / "bundle" / "card.json")
    assert card["import"] == report.as_json()
    assert card["saved_with_it"]["global_step"] == 200_000


def test_a_trained_ranking_head_orders_the_hits(bring):
    torch.manual_seed(5)
    weight, bias = torch.randn(1, SMALL_DIMS.width), torch.randn(1)

    report, imported = bring(make_state(rank_output__weight=weight, rank_output__bias=bias))

    tokens, clips = imported.tokenize(TEXTS), random_clips()
    network = make_tiny_network(0, SMALL_DIMS)
    with torch.inference_mode():
        frames = imported._preprocessing.normalise(clips)  # noqa: SLF001
        pooled = network.pool(tokens.ids, tokens.mask, network.visual_tokens(frames))
        scores = (pooled @ weight.T + bias)[:, 0]
    assert torch.allclose(imported.match(tokens, clips), scores, atol=1e-5)
    assert any("ranking head" in note for note in report.notes)


def test_a_ranking_head_that_is_a_row_of_the_matching_head_says_nothing_new(bring):
    state = make_state()
    state["rank_output.weight"] = state["itm_score.fc.weight"][1:2]
    state["rank_output.bias"] = state["itm_score.fc.bias"][1:2]

    report, imported = bring(state)

    assert "row 1" in report.ignored["rank_output.weight"]
    clips = random_clips()
    *_, odds = outputs_of(make_tiny_network(0, SMALL_DIMS), imported, clips)
    assert torch.equal(imported.match(imported.tokenize(TEXTS), clips), odds)


def test_a_file_without_temporal_embedding_gets_zeros(bring):
    state = make_state()
    del state["transformer.temporal_embed"]

    report, imported = bring(state)

    assert imported.spec.frames_per_clip == 3
    assert not imported.network.transformer.temporal_embed.any()
    assert "zeros for 3 frames" in report.made["transformer.temporal_embed"]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_another_clip_length_keeps_the_first_rows_and_adds_zeros(bring, frames):
    state = make_state()

    report, imported = bring(state, frames=frames)

    rows, stored = imported.network.transformer.temporal_embed, state["transformer.temporal_embed"]
    kept = min(3, frames)
    assert torch.equal(rows[:, :kept], stored[:, :kept])
    assert not rows[:, kept:].any()
    assert rows.shape[1] == imported.spec.frames_per_clip == frames
    assert "transformer.temporal_embed" in report.made
    assert imported.embed_video(random_clips(frames)).isfinite().all()


def test_known_heads_of_other_tasks_are_left_out_and_told(bring):
    extra = {
        "mpp_score__decoder__weight": torch.ones(4, 4),
        "vqa_classifier__1__weight": torch.ones(2, 4),
        "vcop_classifier__0__bias": torch.ones(2),
        "nlvr2_classifier__0__bias": torch.ones(2),
        "rank_output_2__weight": torch.ones(1, 4),
        "mystery__weight": torch.ones(2),
    }

    report, _ = bring(make_state(**extra))

    assert report.ignored["mystery.weight"] == "not a part that is known"
    assert {name.replace("__", ".") for name in extra} < report.ignored.keys()
    assert "Ignored: 7 keys." in report.as_text()


def test_an_incomplete_language_head_is_left_out(bring):
    state = make_state()
    del state["mlm_score.decoder.weight"]

    report, imported = bring(state)

    assert not hasattr(imported.network, "mlm_score")
    assert "incomplete" in report.ignored["mlm_score.bias"]


def test_a_third_modality_row_is_left_out(bring):
    state = make_state()
    table = state["token_type_embeddings.weight"]
    state["token_type_embeddings.weight"] = torch.cat((table, torch.ones_like(table[:1])))

    report, imported = bring(state)

    assert torch.equal(imported.network.token_type_embeddings.weight, table)
    assert any("NLVR2" in note for note in report.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(bring, tmp_path, dtype):
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in make_state().items()
    }

    _, imported = bring(state)

    pooler = imported.network.pooler.dense.weight
    assert torch.equal(pooler, state["pooler.dense.weight"].float())
    is_half = dtype.itemsize == 2
    stored = (tmp_path / "bundle" / "model.safetensors").stat().st_size
    assert (stored < 0.6 * sum(t.numel() * 4 for t in state.values())) == is_half


def test_the_order_of_keys_means_nothing(bring):
    state = make_state()

    _, imported = bring(dict(reversed(state.items())))

    assert torch.equal(imported.network.pooler.dense.weight, state["pooler.dense.weight"])


def test_names_of_a_wrapper_are_undone(bring):
    report, _ = bring({f"module.{name}": tensor for name, tensor in make_state().items()})

    assert report.renamed["module.pooler.dense.bias"] == "pooler.dense.bias"
    assert not report.used


def test_tensors_that_changed_places_are_refused(refuse):
    state = make_state()
    one, other = "transformer.blocks.0.mlp.fc1.weight", "transformer.blocks.1.mlp.fc2.weight"
    state[one], state[other] = state[other], state[one]

    assert "has the shape" in refuse(state)


@pytest.mark.parametrize(
    "name",
    [
        "transformer.norm.weight",
        "transformer.blocks.0.attn.qkv.bias",
        "transformer.pos_embed",
        "text_embeddings.position_embeddings.weight",
        "token_type_embeddings.weight",
        "pooler.dense.bias",
        "itm_score.fc.bias",
        "vid_proj.weight",
    ],
)
def test_a_missing_tensor_is_refused_by_name(refuse, name):
    state = make_state()
    del state[name]

    assert repr(name) in refuse(state)


def test_a_missing_block_is_refused(refuse):
    state = make_state(dims=replace(SMALL_DIMS, depth=3))
    kept = {name: tensor for name, tensor in state.items() if ".blocks.1." not in name}

    assert "'transformer.blocks.1.attn.proj.bias'" in refuse(kept)


@pytest.mark.parametrize(
    "name", ["transformer.blocks.0.ls1.gamma", "transformer.norm_pre.weight", "pooler.other.bias"]
)
def test_an_unknown_tensor_inside_the_network_is_refused(refuse, name):
    assert repr(name) in refuse({**make_state(), name: torch.ones(3)})


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(refuse, wrong):
    state = make_state()
    state["pooler.dense.weight"][3, 5] = wrong

    said = refuse(state)
    assert "'pooler.dense.weight'" in said
    assert "not finite" in said


@pytest.mark.parametrize(
    ("name", "shape", "why"),
    [
        ("transformer.cls_token", (1, 1, 64), "shape"),
        ("transformer.cls_token", (128,), "3 sizes"),
        ("transformer.pos_embed", (1, 16, 128), "no square grid"),
        ("transformer.temporal_embed", (3, 128), "(1, T, 128)"),
        ("text_embeddings.word_embeddings.weight", (7, 128), "shape"),
        ("itm_score.fc.weight", (3, 128), "shape"),
    ],
)
def test_a_wrong_shape_is_refused(refuse, name, shape, why):
    assert why in refuse({**make_state(), name: torch.zeros(shape)})


def test_whole_numbers_for_weights_are_refused(refuse):
    state = make_state()
    state["pooler.dense.bias"] = torch.zeros(128, dtype=torch.int64)

    assert "torch.int64" in refuse(state)


def test_a_position_table_of_another_run_is_refused(refuse):
    state = make_state()
    state["text_embeddings.position_ids"] = torch.arange(40)[None]

    assert "position table has 16 rows" in refuse(state)


def test_two_matching_heads_are_refused(refuse):
    state = make_state()
    state["vtm_score.fc.weight"] = state["itm_score.fc.weight"]

    assert "two matching heads" in refuse(state)


def test_another_network_is_refused_and_the_right_command_named(refuse):
    said = refuse({"visual.conv1.weight": torch.ones(3)})

    assert "not an All-in-One checkpoint" in said
    assert "models add" in said
    assert "import-clover" in said


def test_a_network_that_can_do_nothing_here_is_refused(refuse):
    dims = replace(SMALL_DIMS, has_projections=False, has_matching_head=False)

    assert "neither projections nor a matching head" in refuse(make_state(dims=dims))


@pytest.mark.parametrize("frames", [-1, 1000])
def test_clip_lengths_that_nobody_can_mean_are_refused(refuse, frames):
    assert "1 to 256 frames" in refuse(make_state(), frames=frames)
