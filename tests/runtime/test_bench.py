"""The benchmark of learned families: it counts what torch counts, it adds up, and it runs as told. Times are not asserted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from keepworld_runtime.bench import __main__ as bench
from keepworld_runtime.bench.measure import walk
from keepworld_runtime.bench.report import Report, Stage, table
from keepworld_runtime.bench.sizes import sizes_of
from keepworld_runtime.bench.subject import count_decoder_flops, make_subject, random_network
from keepworld_runtime.families.latent.flops import decoder_flops, latent_tokens
from keepworld_runtime.families.worldplay_5b import config as worldplay_5b
from keepworld_runtime.families.worldplay_8b import config as worldplay_8b
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

FAMILIES = ["worldplay-8b", "worldplay-5b"]
TINY = ["--reduced", "--layers", "1", "--hidden", "128", "--size", "64x64", "--chunks", "1"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=FAMILIES)
def measured(request, capsys) -> dict:
    assert bench.main([request.param, *TINY, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_measurement_has_every_stage_and_adds_up(measured):
    names = [stage["name"] for stage in measured["stages"]]
    steps = [f"step {number}" for number in range(1, 5)]
    assert names == ["retrieve", "context pass", *steps, "decode", "rest"]
    assert measured["chunk"]["flops"] == sum(stage["flops"] for stage in measured["stages"])
    assert measured["chunk"]["seconds"] == pytest.approx(sum(stage["seconds"] for stage in measured["stages"]))
    assert measured["context"] == (20 if measured["family"] == "worldplay-8b" else 16)
    assert measured["frames"] == 16
    assert measured["at_ceiling_s"] == pytest.approx(measured["chunk"]["flops"] / measured["ceiling"])
    for stage in measured["stages"]:
        assert stage["of_ceiling"] * measured["ceiling"] == pytest.approx(stage["flops_per_s"])
    assert all(size > 0 for size in measured["bytes"].values())


def test_both_ways_make_the_same_chunk(measured):
    assert measured["difference"] < 1e-5  # float32 on both sides: only the order of sums differs
    assert measured["plain_over_ours"] == pytest.approx(measured["plain_s"] / measured["ours_s"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_work_of_a_measured_chunk_is_what_torch_counts(family, capsys):
    sizes = sizes_of(family, is_reduced=True, layers=2, hidden=128, size=(64, 64))
    model = random_network(sizes, CPU, torch.float32)
    subject = make_subject(sizes, model)
    walked = walk(subject, 1, lambda line: None)
    # torch counts no FLOPs for its fused attention on a CPU, but for the products that it is made of
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        subject.ours(walked.last)
    assert bench.main([family, *TINY[:1], "--layers", "2", *TINY[3:], "--json", "--no-plain"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert sum(stage["flops"] for stage in stages if stage["name"] != "decode") == counter.get_total_flops()


@pytest.mark.parametrize("family", FAMILIES)
def test_released_sizes_are_the_released_ones(family):
    sizes = sizes_of(family, is_reduced=False)
    assert sizes.config == (worldplay_8b.MODEL if family == "worldplay-8b" else worldplay_5b.MODEL)
    assert sizes.tokens_per_latent == {"worldplay-8b": 1560, "worldplay-5b": 880}[family]
    assert sizes.words + sizes.picture == {"worldplay-8b": 1000, "worldplay-5b": 512}[family]
    counted = count_decoder_flops(sizes)
    assert counted == pytest.approx(decoder_flops(family, sizes.width, sizes.height), rel=0.01)


def test_ranks_share_a_chunk():
    command = [sys.executable, "-m", "keepworld_runtime.bench", "worldplay-5b", "--random-weights", *TINY[:4], "256"]
    done = subprocess.run(
        [*command, *TINY[5:], "--ranks", "2", "--json"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["ranks"] == 2
    assert measured["plain_s"] is None
    assert measured["at_ceiling_s"] == pytest.approx(measured["chunk"]["flops"] / measured["ceiling"] / 2)
    # each rank keeps its heads only: 1 layer's keys and values and 3 rows to work in, 1 head of 128, 80 tokens of 4 bytes
    assert measured["bytes"]["keys and values"] == (2 + 3) * 128 * 20 * 4 * 4


def _report(**changes) -> Report:
    told = {
        "family": "worldplay-8b", "network": "released network", "device": "a GPU", "dtype": "bfloat16", "ranks": 2,
        "width": 832, "height": 480, "tokens_per_latent": 1560, "context": 20, "chunks": 3, "frames": 16,
        "stages": [Stage("retrieve", 0.01, 0), Stage("step 1", 0.5, 400e12), Stage("decode", 0.4, 40e12)],
        "ceiling": 800e12, "bytes": {"network": 17_000_000_000},
    }  # fmt: skip
    return Report(**(told | changes))


def test_the_table_tells_rates_and_what_part_of_the_ceiling_they_are():
    lines = table(_report()).splitlines()
    assert lines[4].split() == ["retrieve", "10.0"]
    assert lines[5].split() == ["step", "1", "500.0", "400000.0", "800", "50.0%"]
    assert lines[7].split() == ["chunk", "910.0", "440000.0", "484", "30.2%"]
    text = "\n".join(lines)
    assert "17.58 frames/s; a chunk's first frames after 610.0 ms" in text
    assert "at it a chunk would take 275.0 ms" in text
    assert "network 17 GB" in text
    assert "ratio" not in text


def test_the_table_tells_the_ratio_to_the_published_way():
    text = table(_report(plain_s=1.0, ours_s=0.5, difference=0.002))
    assert (
        "2.00: the published way takes 1000.0 ms for a chunk's latents, ours 500.0 ms; they differ by 2.0e-03" in text
    )


def test_on_a_cpu_it_says_that_it_is_reduced_and_why():
    job = bench._job(bench._parser().parse_args(["worldplay-8b", "--device", "cpu"]))
    assert job.network == "reduced network (2 layers of 256: on a CPU a chunk of the released one takes hours)"
    chosen = bench._job(bench._parser().parse_args(["worldplay-8b", "--device", "cpu", "--layers", "3"]))
    assert chosen.network == "network of 3 layers of 2048"
    assert latent_tokens(chosen.sizes.config, chosen.sizes.width, chosen.sizes.height) == 1560


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "100x64"], "width and height must be multiples of 32, got 100 × 64"),
        (["--hidden", "100"], "hidden must be a multiple of 128, got 100"),
        (["--layers", "0"], "layers must be at least 1, got 0"),
        (["--chunks", "0"], "chunks must be at least 1, got 0"),
        (["--ranks", "3"], "ranks must divide the network's heads and a latent's tokens, got 3 ranks for 2 heads"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, told, capsys):
    assert bench.main(["worldplay-5b", "--reduced", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    text = capsys.readouterr().out
    for word in ("random weights", "keepworld bench family worldplay-8b", "--ranks", "published", "GPU"):
        assert word in text


def test_the_command_line_hands_over():
    done = subprocess.run(
        [sys.executable, "-m", "keepworld.cli", "bench", "family", "--help"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "usage: keepworld bench family" in done.stdout
