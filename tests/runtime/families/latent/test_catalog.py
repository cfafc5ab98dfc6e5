import json

import pytest
from keepworld_runtime.families.latent.catalog import CATALOG, WORLDPLAY_5B, WORLDPLAY_8B, entry_of
from keepworld_runtime.families.latent.parts import MissingFilesError, is_there, locate

from tests.checkpoints import write_worldplay_5b, write_worldplay_8b


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    both = tmp_path_factory.mktemp("weights")
    write_worldplay_8b(both, "ar_model", "ar_distilled_action_model")
    return write_worldplay_5b(both)


def test_both_models_lie_beside_each_other_without_being_taken_for_one(folder):
    eight, five = locate(folder, WORLDPLAY_8B), locate(folder, WORLDPLAY_5B)
    assert eight["language"].folder == folder / "HunyuanVideo-1.5/text_encoder/llm"
    assert five["language"].folder == folder / "Wan2.2-TI2V-5B-Diffusers/text_encoder"
    assert eight["vae"].folder != five["vae"].folder


def test_either_name_of_the_networks_file_will_do(folder):
    names = {
        variant: locate(folder, WORLDPLAY_8B, variant)["network"].weights[0].name for variant in ("distilled", "ar")
    }
    assert names == {"distilled": "model.safetensors", "ar": "diffusion_pytorch_model.safetensors"}


def test_the_repositories_may_be_the_folder_itself(folder, tmp_path):
    for repository in ("HY-WorldPlay", "HunyuanVideo-1.5"):
        for child in (folder / repository).iterdir():
            (tmp_path / child.name).symlink_to(child)
    assert locate(tmp_path, WORLDPLAY_8B)["vision"].folder == tmp_path / "vision_encoder/siglip/image_encoder"


def test_shards_are_those_of_the_index(folder):
    weights = locate(folder, WORLDPLAY_8B)["language"].weights
    assert [path.name for path in weights] == [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def test_what_is_missing_is_told_with_where_it_was_looked_for_and_how_to_get_it(tmp_path):
    write_worldplay_8b(tmp_path)
    (tmp_path / "HunyuanVideo-1.5/vae/config.json").unlink()
    (tmp_path / "HY-WorldPlay/ar_distilled_action_model/model.safetensors").unlink()
    with pytest.raises(MissingFilesError) as error:
        locate(tmp_path, WORLDPLAY_8B)
    told = str(error.value)
    assert "lacks 2 of 8 parts of worldplay-8b" in told
    assert "ar_distilled_action_model/(diffusion_pytorch_model.safetensors|model.safetensors)" in told
    assert "with config.json beside it" in told
    assert str(tmp_path / "HY-WorldPlay") in told
    assert f"keepworld models pull worldplay-8b --to {tmp_path}" in told


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", 3])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path, name):
    write_worldplay_8b(tmp_path)
    index = tmp_path / "HunyuanVideo-1.5/text_encoder/llm/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match="not a file beside it"):
        _ = locate(tmp_path, WORLDPLAY_8B)["language"].weights


def test_a_shard_that_is_not_there_is_named(tmp_path):
    write_worldplay_8b(tmp_path)
    (tmp_path / "HunyuanVideo-1.5/text_encoder/llm/model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingFilesError, match="lacks model-00002-of-00002"):
        _ = locate(tmp_path, WORLDPLAY_8B)["language"].weights


def test_an_unknown_variant_or_model_is_told_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="known: distilled, ar, rl, bidirectional"):
        locate(tmp_path, WORLDPLAY_8B, "fast")
    with pytest.raises(ValueError, match="known: worldplay-8b, worldplay-5b"):
        entry_of("genie")


def test_only_the_variant_that_is_there_is_said_to_be(folder):
    there = {variant: is_there(folder, WORLDPLAY_8B, part) for variant, part in WORLDPLAY_8B.networks.items()}
    assert there == {"distilled": True, "ar": True, "rl": False, "bidirectional": False}


@pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
def test_the_licence_tells_where_it_does_not_apply(entry):
    limits = " ".join(licence.limits for licence in entry.licences)
    assert all(place in limits for place in ("European Union", "United Kingdom", "South Korea"))
