import json
import shutil

import pytest
import torch
from keepworld_runtime.families.latent.parts import MissingFilesError
from keepworld_runtime.families.latent.weights import WeightFiles, WeightsMismatchError
from keepworld_runtime.families.worldplay_8b.checkpoint import check, load
from keepworld_runtime.families.worldplay_8b.config import AUTOREGRESSIVE, BIDIRECTIONAL, DISTILLED
from safetensors.torch import load_file, save_file

from tests.checkpoints import worldplay_8b_shapes, write_worldplay_8b

NETWORK = "HY-WorldPlay/ar_distilled_action_model/model.safetensors"
VAE = "HunyuanVideo-1.5/vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_worldplay_8b(tmp_path_factory.mktemp("weights"))


def test_the_network_has_the_files_numbers_under_the_files_names(folder):
    loaded, saved = load(folder), load_file(folder / NETWORK)
    assert {name: tuple(x.shape) for name, x in loaded.model.state_dict().items()} == worldplay_8b_shapes()
    assert all(torch.equal(x, saved[name]) for name, x in loaded.model.state_dict().items())
    assert loaded.rollout == DISTILLED and loaded.config.num_layers == 2


def test_the_vae_is_read_by_its_released_names(folder):
    loaded, saved = load(folder), load_file(folder / VAE)
    ours, released = loaded.vae.module.state_dict(), "decoder.up.1.block.2.conv1.conv.weight"
    assert torch.equal(ours["decoder.up_blocks.1.resnets.2.conv1.conv.weight"], saved[released])


def test_the_converted_layout_is_read_too(tmp_path):
    loaded = load(write_worldplay_8b(tmp_path, converted=True))
    states = loaded.encoders.encode_text('a sign says "hello"')
    assert states.byt5_mask.sum() == len('Text "hello". ') + 1  # a token a byte, and the end
    assert loaded.vae.decode(torch.randn(1, 4, 1, 2, 3), loaded.vae.initial_state())[0].shape == (1, 3, 1, 32, 48)


@pytest.mark.parametrize(
    ("variant", "released", "rollout"),
    [("ar", "ar_model", AUTOREGRESSIVE), ("bidirectional", "bidirectional_model", BIDIRECTIONAL)],
)
def test_each_variant_is_walked_in_its_way(tmp_path, variant, released, rollout):
    folder = write_worldplay_8b(tmp_path, released)
    assert load(folder, variant).rollout == rollout
    with pytest.raises(MissingFilesError, match="ar_distilled_action_model"):
        load(folder)


def test_network_and_vae_are_as_asked_and_the_glyph_encoder_in_full(folder):
    loaded = load(folder, dtype=torch.bfloat16)
    assert loaded.model.dtype == torch.bfloat16
    assert {x.dtype for x in loaded.vae.module.parameters()} == {torch.bfloat16}
    states = loaded.encoders.encode_text("a sea")
    assert torch.equal(states.text, load(folder).encoders.encode_text("a sea").text)


@pytest.mark.parametrize("offload", ["encoders", "blocks"])
def test_offloading_changes_nothing_on_a_cpu(folder, offload):
    plain, offloading = load(folder), load(folder, offload=offload)
    assert torch.equal(plain.encoders.encode_text("a sea").text, offloading.encoders.encode_text("a sea").text)
    assert all(torch.equal(x, offloading.model.state_dict()[name]) for name, x in plain.model.state_dict().items())


def test_base_weights_are_told_apart_from_worldplays(tmp_path):
    folder = write_worldplay_8b(tmp_path)
    weights = load_file(folder / NETWORK)
    save_file(
        {name: x for name, x in weights.items() if "prope" not in name and "action" not in name}, folder / NETWORK
    )
    for use in (load, check):
        with pytest.raises(WeightsMismatchError, match="without the action layers"):
            use(folder)


def test_an_encoder_of_another_kind_is_refused(tmp_path):
    folder = write_worldplay_8b(tmp_path)
    config = folder / "HunyuanVideo-1.5/vision_encoder/siglip/image_encoder/config.json"
    config.write_text(json.dumps({"model_type": "clip_vision_model"}))
    with pytest.raises(
        ValueError, match="must hold a model of kind siglip or siglip_vision_model, got clip_vision_model"
    ):
        load(folder)


def test_a_language_model_deeper_than_any_is_refused_before_it_is_made(tmp_path):
    folder = write_worldplay_8b(tmp_path)
    config = folder / "HunyuanVideo-1.5/text_encoder/llm/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 10**9}))
    with pytest.raises(ValueError, match=r"num_hidden_layers in .*config.json must be 1 to 1024"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mm_double_blocks_depth", 2000),
        ("hidden_size", -64),
        ("heads_num", "4"),
        ("rope_dim_list", [4, 6]),
        ("hidden_size", 64.5),
    ],
)
def test_sizes_that_are_none_are_refused_before_anything_is_made(tmp_path, name, value):
    folder = write_worldplay_8b(tmp_path)
    config = folder / "HY-WorldPlay/ar_distilled_action_model/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), name: value}))
    with pytest.raises(ValueError, match=name):
        load(folder)


def test_without_a_config_beside_the_network_the_base_networks_counts(tmp_path):
    folder = write_worldplay_8b(tmp_path)
    (folder / "HY-WorldPlay/ar_distilled_action_model/config.json").unlink()
    assert load(folder).config.hidden_size == 64


def test_without_any_config_the_released_sizes_are_wanted(tmp_path):
    folder = write_worldplay_8b(tmp_path)
    (folder / "HY-WorldPlay/ar_distilled_action_model/config.json").unlink()
    shutil.rmtree(folder / "HunyuanVideo-1.5/transformer")
    with pytest.raises(WeightsMismatchError, match=r"missing \d+ \(1905 wanted"):
        check(folder)


def test_checking_reads_no_numbers(folder, monkeypatch):
    def read(files, name):
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(WeightFiles, "__getitem__", read)
    check(folder)
    with pytest.raises(AssertionError, match="was read"):
        load(folder)
