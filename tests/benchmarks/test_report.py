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


def test_figures_are_medians_over_rounds_and_ratios_are_those_within_each():
    def in_round(acme, slowness):
        """A round in which the machine is so many times slower."""
        end_to_end = {
            name: value / slowness if name.endswith("_per_second") else value
            for name, value in END_TO_END.items()
        }
        return {
            "parts": PARTS,
            "end_to_end": end_to_end,
            "acme_tf": {"steps_per_second": acme / slowness},
        }

    rounds = [in_round(125.0, 1.0), in_round(100.0, 2.0), in_round(80.0, 1.5)]
    measured = report.summarize(rounds, cores=2)
    assert measured["end_to_end"]["acted_steps_per_second"] == pytest.approx(2010.0 / 1.5)
    assert measured["acme_tf"]["steps_per_second"] == pytest.approx(80.0 / 1.5)
    assert [one["end_to_end_over_acme_tf"] for one in measured["rounds"]] == [16.0, 20.0, 25.0]
    assert measured["end_to_end_over_acme_tf"] == 20.0


def test_table_names_all_that_was_measured():
    measured = {"parts": PARTS, "end_to_end": END_TO_END, "acme_tf": {"steps_per_second": 125.0}}
    table = report.show(report.summarize([measured], cores=2))
    names = (*PARTS, "limit", "end to end, acted", "end to end, learned", "Acme's TF IMPALA")
    for name in (*names, "policy lag", "end to end / limit", "end to end / Acme's"):
        assert name in table


def test_machine_is_described():
    described = json.loads(json.dumps(machine.describe()))
    assert described["cores"] >= 1
    assert machine.in_words(described).endswith(("oneDNN on", "oneDNN off"))
