import json
import struct
from pathlib import Path

import pytest
import torch
from keepworld_runtime.families.latent.weights import StoredModule, WeightFiles, WeightsMismatchError, check_weights
from safetensors.torch import save_file
from torch import nn

from tests.checkpoints import worldplay_5b_shapes, worldplay_8b_shapes


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Embedding(5, 3)
        self.second = nn.Embedding(5, 3)
        self.second.weight = self.first.weight


def on_meta(make):
    with torch.device("meta"):
        return make()


def stored(make, *files, rename=str):
    return StoredModule(what="the network", module=on_meta(make), weights=WeightFiles(files, rename))


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def written(path, tensors):
    save_file(tensors, path)
    return path


def like(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(x.shape, generator=generator) for name, x in module.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_gets_the_numbers_of_its_files_as_it_wants_them(tmp_path, dtype):
    weights = like(small())
    halves = [{name: x for name, x in weights.items() if name.startswith(part)} for part in "01"]
    files = [written(tmp_path / f"{number}.safetensors", half) for number, half in enumerate(halves)]
    loaded = stored(small, *files).load("cpu", dtype)
    assert all(torch.equal(x, weights[name].to(dtype)) for name, x in loaded.state_dict().items())
    assert not loaded.training and not any(x.requires_grad for x in loaded.parameters())


def test_numbers_that_are_not_fractions_stay_as_they_are(tmp_path):
    module = nn.Module()
    module.register_buffer("counts", torch.zeros(3, dtype=torch.int64, device="meta"))
    file = written(tmp_path / "a.safetensors", {"counts": torch.tensor([1, 2, 1 << 40])})
    part = StoredModule(what="counts", module=module, weights=WeightFiles([file]))
    assert part.load("cpu", torch.bfloat16).counts.tolist() == [1, 2, 1 << 40]


def test_a_shared_weight_may_have_any_of_its_names(tmp_path):
    table = torch.randn(5, 3)
    for name in ("first.weight", "second.weight"):
        loaded = stored(Tied, written(tmp_path / f"{name}.safetensors", {name: table})).load("cpu", torch.float32)
        assert torch.equal(loaded.first.weight, table) and torch.equal(loaded.second.weight, table)


def test_like_names_that_differ_are_told_once_with_their_number(tmp_path):
    weights = like(small())
    del weights["0.weight"], weights["1.weight"]
    weights |= {f"extra.{number}.scale": torch.zeros(1) for number in range(7)}
    weights["1.bias"] = torch.zeros(9)
    with pytest.raises(WeightsMismatchError) as error:
        stored(small, written(tmp_path / "odd.safetensors", weights)).load("cpu", torch.float32)
    told = str(error.value)
    assert "missing 2 (4 wanted, 9 found): N.weight ×2" in told
    assert "unknown 7" in told and "extra.N.scale ×7" in told
    assert "1.bias is [9], wanted [2]" in told
    assert "odd.safetensors" in told


def test_the_base_network_is_recognised_by_what_it_lacks():
    wanted = worldplay_8b_shapes()
    base = {name: shape for name, shape in wanted.items() if "prope" not in name and "action_in" not in name}
    with pytest.raises(
        WeightsMismatchError, match=r"base HunyuanVideo-1\.5 weights without the action layers"
    ) as error:
        check_weights("WorldPlay-8B", holder(wanted), base, [])
    assert "double_blocks.N.img_attn_prope_proj.weight ×2" in str(error.value)


def test_another_model_of_the_family_is_recognised():
    with pytest.raises(WeightsMismatchError, match="seem to be WorldPlay-5B weights"):
        check_weights("WorldPlay-8B", holder(worldplay_8b_shapes()), worldplay_5b_shapes(), [])


def holder(shapes):
    """A module that wants weights of these names and shapes."""
    root = nn.Module()
    for name, shape in shapes.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, nn.Parameter(torch.empty(shape, device="meta")))
    return root


def test_a_file_that_broke_off_is_refused_before_it_is_used(tmp_path):
    whole = written(tmp_path / "whole.safetensors", like(small()))
    half = tmp_path / "half.safetensors"
    half.write_bytes(whole.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"half\.safetensors is not a whole safetensors file"):
        WeightFiles([half])


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    path = tmp_path / "liar.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        WeightFiles([path])


def test_two_files_with_one_name_are_refused(tmp_path):
    files = [written(tmp_path / f"{number}.safetensors", {"a": torch.zeros(1)}) for number in range(2)]
    with pytest.raises(ValueError, match="a second time"):
        WeightFiles(files)


def test_a_cpu_keeps_no_copy_of_what_it_maps(tmp_path):
    def large():
        return nn.Linear(4096, 4096, bias=False)  # 64 MiB

    file = written(tmp_path / "large.safetensors", {"weight": torch.zeros(4096, 4096)})
    before = anonymous_bytes()
    loaded = stored(large, file).load("cpu", torch.float32)
    assert float(loaded.weight.sum()) == 0
    assert anonymous_bytes() - before < 16 << 20


def anonymous_bytes():
    """Memory of this process that no file stands behind."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
