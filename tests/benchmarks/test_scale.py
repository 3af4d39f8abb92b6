"""The simulation of many actors: that it counts what it should, not how much that costs."""

import pytest

from benchmarks.processes import call_in_fresh_process
from benchmarks.scale import report
from benchmarks.scale.setting import Setting, Way
from benchmarks.scale.simulation import simulate
from benchmarks.tasks import TASKS


@pytest.mark.parametrize("max_age", [None, 0.0])
def test_every_unroll_is_taken_and_weights_are_sent_once_a_host(max_age):
    setting = Setting(actors_per_host=20, unroll_seconds=0.5, step_seconds=0.0)
    (measured,) = call_in_fresh_process(
        simulate, TASKS["breakout"], setting, Way("", max_age), [40], 2.0, seconds=120
    )
    assert measured["actors"] == 40
    assert measured["unrolls_per_second"] == pytest.approx(32 * measured["steps_per_second"])
    assert measured["steps_per_second"] > 0
    assert measured["serving_cores"] > 0
    assert measured["taking_cores"] > 0
    # Two hosts; counted at moments in between.
    assert (measured["sent_per_version"] <= 3) == (max_age is not None)
    assert len(report.show([measured]).splitlines()) == 2
