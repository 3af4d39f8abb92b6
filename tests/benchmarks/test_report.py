import json

import pytest

from benchmarks import machine, report

PARTS = {
    "environment": {"cpu_us_per_step": 500.0, "steps_per_second": 2000.0},
    "policy": {"cpu_us_per_step": 140.0, "steps_per_second": 7000.0},
    "transport": {"cpu_us_per_step": 30.0, "steps_per_second": 60_000.0},
    "learner": {"cpu_us_per_step": 230.0, "steps_per_second": 8000.0},
    "loss": {
        "cpu_us_per_step": 1.0,
        "steps_per_second": 1e6,
        "unroll_length": 100,
        "share_of_learner_step": 0.01,
    },
}
END_TO_END = {
    "acted_steps_per_second": 2010.0,
    "learned_steps_per_second": 2000.0,
    "mean_policy_lag_learner_steps": 1.5,
    "cpu_us_per_step": 950.0,
    "cores_used": 1.9,
    "cores_used_by_others": 0.1,
    "seconds_to_first_step": 9.5,
    "pss_mib": 1200.0,
    "seconds": 30.0,
}


def test_limit_is_what_the_cores_can_do_of_all_parts():
    measured = report.add_ratios({"parts": PARTS}, cores=2)
    assert measured["parts_cpu_us_per_step"] == 900.0  # The loss is within the learner's.
    assert measured["limit_steps_per_second"] == pytest.approx(2 / 900e-6)


def test_ratios_are_of_the_slower_of_acting_and_learning():
    measured = {"parts": PARTS, "end_to_end": END_TO_END, "acme_tf": {"steps_per_second": 125.0}}
    measured = report.add_ratios(measured, cores=2)
    assert measured["end_to_end_over_limit"] == pytest.approx(2000.0 / (2 / 900e-6))
    assert measured["end_to_end_over_acme_tf"] == 16.0


def test_without_all_parts_there_is_no_limit():
    parts = {name: PARTS[name] for name in ("environment", "policy", "loss")}
    measured = report.add_ratios({"parts": parts, "end_to_end": END_TO_END}, cores=2)
    assert set(measured) == {"parts", "end_to_end"}


def test_table_names_all_that_was_measured():
    measured = {"parts": PARTS, "end_to_end": END_TO_END, "acme_tf": {"steps_per_second": 125.0}}
    table = report.show(report.add_ratios(measured, cores=2))
    names = (*PARTS, "limit", "end to end, acted", "end to end, learned", "Acme's TF IMPALA")
    for name in (*names, "policy lag", "end to end / limit", "end to end / Acme's"):
        assert name in table


def test_machine_is_described():
    described = json.loads(json.dumps(machine.describe()))
    assert described["cores"] >= 1
    assert machine.in_words(described).endswith(("oneDNN on", "oneDNN off"))
