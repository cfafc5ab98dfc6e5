import json
import math

import pytest
from keepworld import paths
from keepworld_runtime.models import main

from tests.checkpoints import write_worldplay_5b, write_worldplay_8b


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder with both models."""
    folder = tmp_path_factory.mktemp("hub")
    write_worldplay_8b(folder)
    return write_worldplay_5b(folder)


def test_the_list_tells_sizes_and_where_the_licence_does_not_apply(capsys):
    assert main(["list"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for words in (
        "worldplay-8b",
        "worldplay-5b",
        "bidirectional",
        "GB",
        "the European Union, the United Kingdom and South Korea",
    ):
        assert words in told


def test_the_list_tells_what_is_there(hub, capsys):
    assert main(["list", "--in", str(hub), "--json"]) == 0
    eight, five = json.loads(capsys.readouterr().out)
    assert {name: told["present"] for name, told in eight["variants"].items()} == {
        "distilled": True,
        "ar": False,
        "rl": False,
        "bidirectional": False,
    }
    assert all(part["present"] for part in (*eight["parts"], *five["parts"]))


def test_nothing_is_pulled_before_the_licence_is_accepted(hub, tmp_path, capsys):
    assert main(["pull", "worldplay-8b", "--from", str(hub), "--to", str(tmp_path / "to")]) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "does not apply in the European Union, the United Kingdom and South Korea" in told
    assert "--accept-licence" in told
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("name", ["worldplay-8b", "worldplay-5b"])
def test_what_was_pulled_verifies_until_a_byte_changes(hub, tmp_path, capsys, name):
    folder = tmp_path / "to"
    pull = ["pull", name, "--from", str(hub), "--to", str(folder), "--accept-licence"]
    assert main(pull) == 0 and main(["verify", str(folder)]) == 0
    assert f"✓ {name} distilled, names and shapes" in capsys.readouterr().out
    vae = next(folder.rglob("vae/*.safetensors"))
    content = bytearray(vae.read_bytes())
    content[-1] ^= 1
    vae.unlink()  # it is a link: the one that it came from stays as it is
    vae.write_bytes(content)
    assert main(["verify", str(folder), "--quick"]) == 0
    assert main(["verify", str(folder)]) == 1
    assert "vae/diffusion_pytorch_model.safetensors has another sha256" in capsys.readouterr().out


def test_a_checkpoint_that_lacks_a_part_does_not_verify(hub, tmp_path, capsys):
    folder = tmp_path / "to"
    main(["pull", "worldplay-5b", "--from", str(hub), "--to", str(folder), "--accept-licence"])
    (folder / "Wan2.2-TI2V-5B-Diffusers/tokenizer/tokenizer_config.json").unlink()
    assert main(["verify", str(folder)]) == 1
    assert "✗ worldplay-5b distilled" in (told := capsys.readouterr().out)
    assert "language tokenizer" in told


def test_a_folder_without_a_model_does_not_verify(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 1
    assert "ar_distilled_action_model" in capsys.readouterr().err


def test_a_plan_says_what_fits(capsys):
    assert main(["plan", "worldplay-8b", "--gpus", "1", "--gpu-memory-gb", "40", "--json"]) == 0
    fits = {plan["offload"]: plan["fits"] for plan in json.loads(capsys.readouterr().out)}
    assert fits == {"none": False, "encoders": False, "blocks": True}


def test_a_plan_in_words_says_that_speed_is_not_measured(capsys):
    assert main(["plan", "worldplay-5b", "--size", "640x352"]) == 0
    told = capsys.readouterr().out
    assert "Speed is an expectation, not a measurement" in told and "640x352" in told


@pytest.mark.parametrize(
    "arguments", [["plan", "worldplay-8b", "--size", "831x480"], ["plan", "worldplay-8b", "--variant", "fast"]]
)
def test_a_plan_that_cannot_be_is_an_error_in_a_line(arguments, capsys):
    assert main(arguments) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["plan", "genie"], ["plan", "worldplay-8b", "--size", "big"], ["pull", "worldplay-8b"]]
)
def test_a_malformed_command_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_a_published_motion_string_becomes_a_path_of_cameras(tmp_path, capsys):
    assert main(["path", "w-2, right-1, up-0.5", "--out", str(tmp_path / "path.json")]) == 0
    path = paths.load(tmp_path / "path.json")
    assert path.shape == (13, 4, 4)  # three latents after the first, four frames each
    assert path[8, :3, 3] == pytest.approx([0, 0, 0.16])
    assert path[12, 0, 2] == pytest.approx(math.sin(math.radians(3)))
    assert "up-0.5 comes to" in capsys.readouterr().err


def test_what_is_no_motion_string_writes_nothing(tmp_path, capsys):
    assert main(["path", "jump-3", "--out", str(tmp_path / "path.json")]) == 1
    assert "'jump-3' must be one of w, s" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
