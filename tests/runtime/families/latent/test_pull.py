import hashlib

import huggingface_hub
import pytest
from keepworld_runtime.families.latent.catalog import WORLDPLAY_5B, WORLDPLAY_8B
from keepworld_runtime.families.latent.manifest import changed, entry_of, hash_of_all, read_manifest, write_manifest
from keepworld_runtime.families.latent.parts import MissingFilesError, locate
from keepworld_runtime.families.latent.pull import PullError, pull_from_folder, pull_from_hub

from tests.checkpoints import write_worldplay_5b, write_worldplay_8b

NETWORK = "HY-WorldPlay/ar_distilled_action_model/model.safetensors"


def silent(name, done, total):
    pass


@pytest.fixture
def source(tmp_path):
    return write_worldplay_8b(tmp_path / "from")


def test_a_pulled_checkpoint_has_the_same_files_and_their_hashes(source, tmp_path):
    target = tmp_path / "to"
    taken = pull_from_folder(source, target, WORLDPLAY_8B, None, silent)
    manifest = read_manifest(target)
    assert {path.relative_to(target).as_posix() for path in taken} == manifest.keys()
    assert all((source / name).read_bytes() == (target / name).read_bytes() for name in manifest)
    assert all(entry_of(source / name) == entry for name, entry in manifest.items())
    assert locate(target, WORLDPLAY_8B).keys() == locate(source, WORLDPLAY_8B).keys()


def test_large_files_are_linked_and_small_ones_are_not(source, tmp_path):
    pull_from_folder(source, tmp_path / "to", WORLDPLAY_8B, None, silent)
    config = "HY-WorldPlay/ar_distilled_action_model/config.json"
    assert (tmp_path / "to" / NETWORK).samefile(source / NETWORK)
    assert not (tmp_path / "to" / config).samefile(source / config)


def test_breaking_off_goes_on_where_it_was(source, tmp_path):
    seen = []

    def break_off(name, done, total):
        seen.append(name)
        if len(set(seen)) == 5:
            raise KeyboardInterrupt

    target = tmp_path / "to"
    with pytest.raises(KeyboardInterrupt):
        pull_from_folder(source, target, WORLDPLAY_8B, None, break_off)
    first = read_manifest(target)
    assert len(first) == 4 and not [path for path in target.rglob(".*") if path.is_file()]
    rest = pull_from_folder(source, target, WORLDPLAY_8B, None, silent)
    assert not first.keys() & {path.relative_to(target).as_posix() for path in rest}
    assert pull_from_folder(source, target, WORLDPLAY_8B, None, silent) == []


def test_all_bytes_are_told(source, tmp_path):
    told = []
    pull_from_folder(source, tmp_path / "to", WORLDPLAY_8B, None, lambda name, done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done) and done[-1] == totals[-1] and len(set(totals)) == 1


def test_a_file_that_is_not_what_the_sources_manifest_says_is_refused(source, tmp_path):
    pull_from_folder(source, tmp_path / "true", WORLDPLAY_8B, None, silent)
    write_manifest(source, read_manifest(tmp_path / "true"))
    damaged = source / "HunyuanVideo-1.5/vae/config.json"
    damaged.write_text(damaged.read_text() + " ")
    with pytest.raises(ValueError, match="not what its folder's manifest says"):
        pull_from_folder(source, tmp_path / "to", WORLDPLAY_8B, None, silent)
    assert not (tmp_path / "to/HunyuanVideo-1.5/vae/config.json").exists()


def test_another_file_of_that_name_is_not_overwritten(source, tmp_path):
    there = tmp_path / "to" / NETWORK
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    with pytest.raises(ValueError, match="with another content"):
        pull_from_folder(source, tmp_path / "to", WORLDPLAY_8B, None, silent)
    assert there.read_bytes() == b"mine"


def test_a_source_that_lacks_a_part_is_told_before_anything_is_taken(source, tmp_path):
    (source / NETWORK).unlink()
    with pytest.raises(MissingFilesError):
        pull_from_folder(source, tmp_path / "to", WORLDPLAY_8B, None, silent)
    assert not (tmp_path / "to").exists()


def test_what_a_pickle_was_converted_to_is_left_to_be_made_again(tmp_path):
    source = write_worldplay_5b(tmp_path / "from")
    folder = source / "HY-WorldPlay/wan_distilled_model"
    (folder / "model.converted.safetensors").write_bytes(b"")
    pull_from_folder(source, tmp_path / "to", WORLDPLAY_5B, None, silent)
    taken = (tmp_path / "to/HY-WorldPlay/wan_distilled_model").iterdir()
    assert [path.name for path in taken] == ["model.pt"]


def test_an_unreachable_hub_is_told_with_what_to_do_by_hand(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(PullError) as error:
        pull_from_hub(tmp_path, WORLDPLAY_5B, None, lambda what: None)
    assert "Name or service not known" in str(error.value)
    assert "hf download tencent/HY-WorldPlay --include 'wan_distilled_model/*'" in str(error.value)


def test_the_hub_is_asked_for_what_is_lacking_only(source, tmp_path, monkeypatch):
    asked = []

    def answer(repository, *, local_dir, allow_patterns):
        asked.append((repository, allow_patterns))
        write_worldplay_8b(source)

    (source / NETWORK).unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    pull_from_hub(source, WORLDPLAY_8B, None, lambda what: None)
    assert asked == [("tencent/HY-WorldPlay", ["ar_distilled_action_model/*"])]
    assert NETWORK in read_manifest(source)


def test_a_changed_missing_or_shortened_file_is_told(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_bytes(b"12345678")
    assert changed(tmp_path, ["a", "b", "c", "d"]) == []
    (tmp_path / "a").write_bytes(b"12345679")
    (tmp_path / "b").write_bytes(b"1234")
    (tmp_path / "c").unlink()
    told = changed(tmp_path, ["a", "b", "d"])
    assert ["a has another sha256" in told[0], told[1:]] == [True, ["b has 4 bytes, not 8", "c is missing"]]


def test_weights_have_one_hash_that_changes_with_any_of_them(tmp_path):
    assert hash_of_all(None) == hash_of_all(tmp_path) == ""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    write_manifest(tmp_path, {name: entry_of(tmp_path / name) for name in ("a", "b")})
    lines = "".join(
        f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("a", "b")
    )  # as sha256sum has it
    assert hash_of_all(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()
    write_manifest(tmp_path, {"a": entry_of(tmp_path / "a"), "b": entry_of(tmp_path / "a")})
    assert hash_of_all(tmp_path) != hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    "content", ['{"files": {"../a": {"bytes": 1, "sha256": "0"}}}', "[]", "{", '{"files": {"a": 3}}']
)
def test_a_manifest_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        read_manifest(tmp_path)
