import pytest
import torch
from keepworld_runtime.families.latent.weights import WeightsMismatchError
from keepworld_runtime.families.worldplay_5b.checkpoint import check, load, released_name
from keepworld_runtime.families.worldplay_5b.config import ROLLOUT

from tests.checkpoints import worldplay_5b_shapes, write_worldplay_5b

PICKLE = "HY-WorldPlay/wan_distilled_model/model.pt"


@pytest.fixture
def folder(tmp_path):
    return write_worldplay_5b(tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("blocks.0.norm2.bias", "blocks.0.norm2.bias"),
        ("model.blocks.0.norm2.bias", "blocks.0.norm2.bias"),
        ("model._fsdp_wrapped_module.blocks.0._fsdp_wrapped_module.norm2.bias", "blocks.0.norm2.bias"),
        ("model.blocks.model.0.norm2.bias", "blocks.0.norm2.bias"),
        ("_fsdp_wrapped_module.model.proj_out.bias", "model.proj_out.bias"),  # the order matters
        ("blocks.model.0", "blocks.model.0"),
    ],
)
def test_the_trainers_wrappers_are_taken_off_in_the_released_order(name, wanted):
    assert released_name(name) == wanted


def test_the_network_has_the_pickles_numbers(folder):
    saved = torch.load(folder / PICKLE, weights_only=True)["generator"]
    model = load(folder).model.state_dict()
    assert {name: tuple(x.shape) for name, x in model.items()} == worldplay_5b_shapes()
    assert all(torch.equal(x, saved[f"model._fsdp_wrapped_module.{name}"]) for name, x in model.items())


def test_a_second_load_does_without_the_pickle(folder):
    first = load(folder)
    (folder / PICKLE).unlink()
    second = load(folder)
    assert all(torch.equal(x, second.model.state_dict()[name]) for name, x in first.model.state_dict().items())
    assert second.rollout == ROLLOUT


def test_everything_runs_in_the_dtype_that_was_asked_for(folder):
    loaded = load(folder, dtype=torch.bfloat16)
    assert loaded.model.dtype == torch.bfloat16
    assert {x.dtype for x in loaded.vae.module.parameters()} == {torch.bfloat16}
    assert loaded.encoders.encode_text("a sea").dtype == torch.float32


def test_weights_without_the_action_layers_are_told_before_they_are_converted(folder):
    content = torch.load(folder / PICKLE, weights_only=True)
    content["generator"] = {
        name: x for name, x in content["generator"].items() if "prope" not in name and "action" not in name
    }
    torch.save(content, folder / PICKLE)
    with pytest.raises(WeightsMismatchError, match="base Wan weights without the action layers"):
        check(folder)
    assert not list((folder / PICKLE).parent.glob("*.safetensors"))


def test_a_pickle_of_something_else_is_told_what_it_lacks(folder):
    torch.save({"ema": {}, "step": 3}, folder / PICKLE)
    with pytest.raises(ValueError, match="must have 'generator', got ema, step"):
        load(folder)


def test_the_first_vae_of_wan_is_refused(folder):
    config = folder / "Wan2.2-TI2V-5B-Diffusers/vae/config.json"
    config.write_text(config.read_text().replace('"is_residual": true', '"is_residual": false'))
    with pytest.raises(ValueError, match="is_residual"):
        load(folder)
