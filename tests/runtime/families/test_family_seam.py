"""What the engine relies on, asked of every family that needs no weights."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from keepworld.motion import AXES, Control
from keepworld_runtime.families import FAMILIES, PROCEDURAL, Chosen
from keepworld_runtime.families.family import ChunkRequest, Event, FamilyOptions, Place, WorldSpec
from keepworld_runtime.serving.server import frame_bytes

MODULES = {**{name: FAMILIES[name] for name in PROCEDURAL}, "gradient": "tests.families"}


@pytest.fixture(params=sorted(MODULES), scope="module")
def family(request):
    return Chosen(module=MODULES[request.param]).make()


@pytest.fixture(scope="module")
def model(family):
    return family.load(Place(num_threads=2))


def spec(family, **changes) -> WorldSpec:
    capabilities = family.capabilities
    width, height = _small(capabilities)
    values = {"prompt": "", "seed": 5, "width": width, "height": height, "mode": next(iter(capabilities.modes))}
    return WorldSpec(**{**values, **changes})


def _small(capabilities) -> tuple[int, int]:
    side = -(-capabilities.min_side // capabilities.size_multiple) * capabilities.size_multiple
    return side, side


def draw(world, family, chunk: int) -> list:
    frames = family.capabilities.frames_in(chunk)
    walk = Control(move=(0.0, 0.0, 1.0))
    return list(world.next_chunk(ChunkRequest(chunk=chunk, controls=(walk,) * frames, poses=(None,) * frames)))


def same(one: list, other: list) -> bool:
    parts = ("c2w", "K", "image", "depth", "labels", "confidence")
    return len(one) == len(other) and all(
        np.array_equal(getattr(a, part), getattr(b, part)) for a, b in zip(one, other, strict=True) for part in parts
    )


def test_its_capabilities_make_sense(family):
    capabilities = family.capabilities
    assert all(set(axes) <= set(AXES) for axes in capabilities.modes.values())
    for width, height in capabilities.sizes:
        assert width % capabilities.size_multiple == height % capabilities.size_multiple == 0
        assert min(width, height) >= capabilities.min_side and width * height <= capabilities.max_pixels
    assert frame_bytes([capabilities]) < 64 << 20


def test_chunks_are_whole_and_frames_fit_their_slot(family, model):
    world = model.open(spec(family))
    for chunk in range(2):
        frames = draw(world, family, chunk)
        assert [frame.index for frame in frames] == list(range(family.capabilities.frames_in(chunk)))
        for frame in frames:
            height, width = frame.image.shape[:2]
            parts = (frame.image, frame.depth, frame.labels, frame.confidence)
            assert sum(part.nbytes for part in parts if part is not None) <= 9 * width * height


def test_two_worlds_of_one_spec_are_the_same(family, model):
    one, other = model.open(spec(family)), model.open(spec(family))
    for chunk in range(2):
        assert same(draw(one, family, chunk), draw(other, family, chunk))


def test_a_restored_world_goes_on_as_if_nothing_had_been(family, model):
    world = model.open(spec(family))
    draw(world, family, 0)
    state = world.state()
    restored = model.open(spec(family))
    restored.restore(state)
    assert len(state.head) < 1 << 20
    assert same(draw(world, family, 1), draw(restored, family, 1))


def test_a_chunk_left_half_way_never_happened(family, model):
    world = model.open(spec(family))
    draw(world, family, 0)
    frames = family.capabilities.frames_in(1)
    half = world.next_chunk(ChunkRequest(chunk=1, controls=(Control(),) * frames, poses=(None,) * frames))
    next(half)
    half.close()
    before = world.state()
    restored = model.open(spec(family))
    restored.restore(before)
    assert same(draw(world, family, 1), draw(restored, family, 1))


def test_frames_keep_their_pixels_while_later_ones_are_drawn(family, model):
    frames = family.capabilities.frames_in(0)
    request = ChunkRequest(chunk=0, controls=(Control(move=(0, 0, 1.0)),) * frames, poses=(None,) * frames)
    kept, copies = [], []
    for frame in model.open(spec(family)).next_chunk(request):
        kept.append(frame.image)
        copies.append(frame.image.copy())
    assert all(np.array_equal(image, copy) for image, copy in zip(kept, copies, strict=True))


def test_an_event_it_does_not_know_is_refused_with_what_it_knows(family):
    if not family.capabilities.events:
        pytest.skip("understands any event")
    with pytest.raises(ValueError, match=next(iter(family.capabilities.events.values()))[0].split()[0]):
        family.read_event("zzz qqq")


def test_an_event_may_be_prepared_on_any_thread_and_changes_nothing(family, model):
    text = next(iter(family.capabilities.events.values()))[0]
    prepared, other = model.open(spec(family)), model.open(spec(family))
    with ThreadPoolExecutor(1) as threads:
        threads.submit(prepared.prepare, Event(text=text, ramp_s=0.0)).result()
    assert prepared.state().head == other.state().head
    assert same(draw(prepared, family, 0), draw(other, family, 0))


@pytest.mark.parametrize("options", [{"dtype": "int3"}, {"offload": "everything"}])
def test_an_option_that_is_not_offered_is_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FamilyOptions(**options)


def test_options_know_which_of_them_were_given():
    assert FamilyOptions().given == ()
    assert FamilyOptions(device="cpu", kernels=("flash-attn",)).given == ("device", "kernels")
