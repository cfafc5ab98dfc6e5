"""What is promised to realtime sessions is what was measured."""

import pytest
from keepworld_runtime.engine.admission import ChunkCosts, admit_realtime
from keepworld_runtime.engine.errors import RealtimeCapacityError
from keepworld_runtime.families.family import WorldSpec

from tests.families import GradientFamily

CAPABILITIES = GradientFamily.capabilities
CHUNK_S = 16 / 24


def spec(prompt: str = "a", width: int = 512, height: int = 288) -> WorldSpec:
    return WorldSpec(prompt=prompt, seed=0, width=width, height=height, mode="fly")


def test_before_the_first_measurement_everything_is_admitted():
    admit_realtime(ChunkCosts(), CAPABILITIES, spec(), [(CAPABILITIES, spec())] * 100)


def test_load_is_chunk_time_over_chunk_duration():
    costs = ChunkCosts()
    costs.measure("gradient", spec(), 16, 0.2)
    assert costs.load(CAPABILITIES, spec()) == pytest.approx(0.2 / CHUNK_S)
    assert costs.load(CAPABILITIES, spec(width=1024)) == pytest.approx(0.4 / CHUNK_S)
    assert costs.expected_s("gradient", spec(), 13) == pytest.approx(0.2 * 13 / 16)


def test_a_world_is_measured_by_itself_once_it_is_known():
    costs = ChunkCosts()
    costs.measure("gradient", spec("cheap"), 16, 0.1)
    assert costs.expected_s("gradient", spec("new"), 16) == pytest.approx(0.1)
    costs.measure("gradient", spec("dear"), 16, 1.0)
    assert costs.expected_s("gradient", spec("dear"), 16) == pytest.approx(1.0)
    assert costs.expected_s("gradient", spec("cheap"), 16) == pytest.approx(0.1)


def test_as_many_as_fit_and_no_more():
    costs = ChunkCosts()
    costs.measure("gradient", spec(), 16, 0.3 * CHUNK_S)
    admit_realtime(costs, CAPABILITIES, spec(), [(CAPABILITIES, spec())] * 2)  # 0.9 of 0.95
    with pytest.raises(RealtimeCapacityError, match="64x48") as refused:
        admit_realtime(costs, CAPABILITIES, spec(), [(CAPABILITIES, spec())] * 3)
    assert refused.value.facts == {
        "needed": "0.300", "taken": "0.900", "available": "0.950", "fitting_sizes": "64x48",
    }  # fmt: skip
    assert refused.value.retry_s
