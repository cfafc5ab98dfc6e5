"""What Prometheus reads of exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from keepworld_runtime.serving.exports.operation import Kind, State
from keepworld_runtime.serving.exports.store import OperationStore


class OperationCollector(Collector):
    """Reads, whenever somebody scrapes, how operations stand, and how those that ended did."""

    def __init__(self, store: OperationStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """The gauges and counters."""
        store = self._store
        now = Counter((each.kind, each.state) for each in store)
        held = GaugeMetricFamily("keepworld_operations", "Operations that are kept, by state", labels=("kind", "state"))
        ended = CounterMetricFamily(
            "keepworld_operations_ended", "Operations that have ended", labels=("kind", "state")
        )
        spent = CounterMetricFamily("keepworld_operation_seconds", "From asking to end, all together", labels=("kind",))
        for kind in Kind:
            for state in State:
                held.add_metric((kind, state), now[kind, state])
                if state.has_ended:
                    ended.add_metric((kind, state), store.ended[kind, state])
            spent.add_metric((kind,), store.spent_s[kind])
        yield from (held, ended, spent)
        memory = sum(each.progress.memory_bytes for each in store if each.state is State.RUNNING)
        yield GaugeMetricFamily("keepworld_export_memory_bytes", "Memory of the exports that run", memory)
        yield GaugeMetricFamily("keepworld_operations_bytes", "Disk that operations take or hold", store.num_bytes)
