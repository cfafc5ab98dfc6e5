import subprocess
import sys

import pytest
import torch
from keepworld_runtime.families.latent.plan import plans
from keepworld_runtime.layers.hunyuan_vae import HunyuanVAE, empty_hunyuan_vae
from keepworld_runtime.layers.wan_vae import WanVAE, empty_wan_vae

GPUS = (1, 2, 4, 8)
# milliseconds a chunk on that many H200s, as published in the study that the rates are from (its row F)
EXPECTED_MS = {"worldplay-8b": (3881, 1993, 1012, 513), "worldplay-5b": (1769, 908, 461, 234)}


@pytest.mark.parametrize("name", EXPECTED_MS)
def test_expected_speeds_are_those_of_the_study(name):
    for plan, wanted in zip(plans(name, gpus=GPUS, offloads=["none"]), EXPECTED_MS[name], strict=True):
        assert plan.chunk_s * 1000 == pytest.approx(wanted, rel=0.03)
        assert plan.fps == pytest.approx(16 / plan.chunk_s)


@pytest.mark.parametrize("name", EXPECTED_MS)
def test_every_offload_takes_less_memory_and_no_less_time_than_the_one_before(name):
    none, encoders, blocks = plans(name, gpus=[1])
    assert none.peak > encoders.peak > blocks.peak
    assert none.chunk_s == encoders.chunk_s <= blocks.chunk_s


def test_weights_are_on_every_gpu_and_the_context_is_shared():
    one, four = plans("worldplay-8b", gpus=(1, 4), offloads=["none"])
    assert one.memory["network"] == four.memory["network"] == 2 * 8_557_933_856  # worldplay8b.md, section 1
    assert one.memory["context"] == pytest.approx(4 * four.memory["context"], rel=1e-6)


def test_guidance_doubles_the_context_and_needs_more_passes():
    distilled, guided = (plans("worldplay-8b", variant, gpus=[1])[0] for variant in ("distilled", "ar"))
    assert guided.memory["context"] == 2 * distilled.memory["context"]
    assert guided.chunk_s > 10 * distilled.chunk_s


def test_a_smaller_picture_takes_less_of_what_goes_with_pixels():
    large, small = (
        plans("worldplay-5b", size=size, gpus=[1], offloads=["none"])[0] for size in ((1280, 704), (640, 352))
    )
    assert small.memory["decoder state"] == pytest.approx(large.memory["decoder state"] / 4, rel=1e-6)
    assert small.memory["vae"] == large.memory["vae"]
    assert small.chunk_s < large.chunk_s / 4


@pytest.mark.parametrize(("gpus", "size"), [(3, (832, 480)), (0, (832, 480)), (1, (830, 480))])
def test_what_cannot_be_shared_or_is_no_size_is_told(gpus, size):
    with pytest.raises(ValueError, match=str(gpus if size == (832, 480) else 830)):
        plans("worldplay-8b", size=size, gpus=[gpus])


def test_only_gpus_that_can_share_the_work_are_planned_for_unless_told():
    assert [plan.gpus for plan in plans("worldplay-5b", size=(640, 352), offloads=["none"])] == [1, 2, 4]  # 220 tokens


def released_wan():
    sizes = {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
    }
    more = {
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "is_residual": True,
    }
    statistics = {"latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}
    return WanVAE(empty_wan_vae({**sizes, **more, **statistics, "scale_factor_spatial": 16}))


@pytest.mark.parametrize(
    ("name", "make", "channels"),
    [("worldplay-8b", lambda: HunyuanVAE(empty_hunyuan_vae({})), 32), ("worldplay-5b", released_wan, 48)],
)
def test_the_decoders_state_is_as_large_as_planned(name, make, channels):
    vae, plan = make(), plans(name, gpus=[1], offloads=["none"])[0]
    vae.module.to(torch.bfloat16)
    width, height = (832, 480) if name == "worldplay-8b" else (1280, 704)
    latent = torch.empty(1, channels, 1, height // 16, width // 16, device="meta", dtype=torch.bfloat16)
    _, state = vae.decode(latent, vae.initial_state())
    _, state = vae.decode(latent, state)
    assert plan.memory["decoder state"] == pytest.approx(state.num_bytes, rel=0.01)
    assert plan.memory["vae"] == 2 * sum(x.numel() for x in vae.module.parameters())


def test_a_plan_is_made_without_loading_torch():
    code = "import sys; from keepworld_runtime.models import main; main(['plan', 'worldplay-8b']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "False"
