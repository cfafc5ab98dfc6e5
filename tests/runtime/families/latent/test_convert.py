import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from keepworld_runtime.families.latent import convert
from keepworld_runtime.families.latent.convert import converted, damaged
from safetensors.torch import load_file

WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
    "counts": torch.tensor([3, 1 << 40]),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "one": torch.tensor(2.0),
}


def pick(content):
    return content["generator"]


def saved(path, content):
    torch.save(content, path)
    return path


def test_what_comes_out_is_what_was_pickled_to_the_bit(tmp_path):
    file = converted(saved(tmp_path / "model.pt", {"generator": WEIGHTS}), pick)
    loaded = load_file(file)
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[name], x) and loaded[name].dtype == x.dtype for name, x in WEIGHTS.items())
    assert file.parent == tmp_path and oct(file.stat().st_mode & 0o777) == "0o644"


def test_numbers_begin_where_a_cpu_reads_them_best(tmp_path):
    content = converted(saved(tmp_path / "model.pt", {"generator": WEIGHTS}), pick).read_bytes()
    assert (8 + int.from_bytes(content[:8], "little")) % 64 == 0


def test_a_pickle_is_converted_once_until_it_changes(tmp_path):
    source = saved(tmp_path / "model.pt", {"generator": WEIGHTS})
    first = converted(source, pick)
    stamp = first.stat().st_ino
    assert converted(source, pick).stat().st_ino == stamp
    saved(source, {"generator": {"b": torch.ones(3)}})
    os.utime(source, ns=(1, 1))
    assert load_file(converted(source, pick)).keys() == {"b"}


def test_the_manifest_tells_what_it_was_made_from(tmp_path):
    source = saved(tmp_path / "model.pt", {"generator": WEIGHTS})
    file = converted(source, pick)
    about = json.loads((tmp_path / "model.converted.json").read_text())
    for path, told in ((source, about["source"]), (file, about["file"])):
        assert told["bytes"] == path.stat().st_size
        assert told["sha256"] == sha256(path)


def sha256(path):
    from hashlib import sha256

    return sha256(path.read_bytes()).hexdigest()


class Writes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (Path(self.path), "ran"))


def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path):
    victim = tmp_path / "victim"
    source = saved(tmp_path / "model.pt", {"generator": {"a": torch.zeros(1), "b": Writes(victim)}})
    with pytest.raises(ValueError, match="would run code when read"):
        converted(source, pick)
    assert not victim.exists() and [path.suffix for path in tmp_path.iterdir() if "converted" in path.name] in (
        [],
        [".lock"],
    )


@pytest.mark.parametrize("content", [pickle.dumps({"generator": {}}), b"", b"PK\x03\x04 not a zip"])
def test_what_torch_did_not_save_is_refused(tmp_path, content):
    source = tmp_path / "model.pt"
    source.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pt"):
        converted(source, pick)


def test_a_few_bytes_told_as_very_many_are_refused(tmp_path):
    source = saved(tmp_path / "model.pt", {"generator": {"a": torch.zeros(1).expand(1 << 40)}})
    with pytest.raises(ValueError, match="tells of more numbers than it holds"):
        converted(source, pick)


def test_a_weight_that_is_no_tensor_is_named(tmp_path):
    source = saved(tmp_path / "model.pt", {"generator": {"a": [1.0, 2.0]}})
    with pytest.raises(ValueError, match=r"a in .* must be a plain tensor, got list"):
        converted(source, pick)


def test_where_one_may_not_write_it_goes_into_the_cache(tmp_path, monkeypatch):
    source = saved(tmp_path / "model.pt", {"generator": WEIGHTS})
    may = os.access
    monkeypatch.setattr(convert.os, "access", lambda path, mode: Path(path) != tmp_path and may(path, mode))
    file = converted(source, pick, tmp_path / "cache")
    assert file.parent == tmp_path / "cache" and load_file(file).keys() == WEIGHTS.keys()
    assert converted(source, pick, tmp_path / "cache") == file


def test_what_was_changed_after_conversion_is_noticed(tmp_path):
    source = saved(tmp_path / "model.pt", {"generator": WEIGHTS})
    file = converted(source, pick)
    assert damaged(source) is None
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "another sha256" in damaged(source)
