import json

import pytest

from benchmarks import machine, report

PARTS = {
    "environment": {"steps": 4000, "cpu_seconds": 2.0, "seconds": 2.0},
    "policy": {"steps": 14_000, "cpu_seconds": 1.96, "seconds": 2.0},
    "transport": {"steps": 120_000, "cpu_seconds": 3.6, "seconds": 2.0},
    "learner": {"steps": 16_000, "cpu_seconds": 3.68, "seconds": 2.0},
    "loss": {
        "steps": 2_000_000,
        "cpu_seconds": 2.0,
        "seconds": 2.0,
        "learner_steps": 20_000,
        "learner_cpu_seconds": 4.0,
        "learner_seconds": 2.0,
        "unroll_length": 100,
    },
}
END_TO_END = {
    "acted_steps": 10_050.0,
    "learned_steps": 10_000.0,
    "cpu_seconds": 9.5,
    "cpu_seconds_of_others": 0.5,
    "seconds": 5.0,
    "mean_policy_lag_learner_steps": 1.5,
    "seconds_to_first_step": 9.5,
    "pss_mib": 1200.0,
}
ACME_TF = {"steps": 1250, "learner_steps": 2, "seconds": 10.0}


def test_what_a_part_costs():
    parts = report.summarize([{"parts": PARTS}], cores=2)["parts"]
    assert parts["environment"]["cpu_us_per_step"] == 500.0
    assert parts["environment"]["steps_per_second"] == 2000.0
    assert parts["loss"]["cpu_us_per_step"] == 1.0
    assert parts["loss"]["share_of_learner_step"] == pytest.approx(0.01)


def test_limit_is_what_the_cores_can_do_of_all_parts():
    measured = report.summarize([{"parts": PARTS}], cores=2)
    # 500, 140, 30 and 230; the loss is within the learner's.
    assert measured["parts_cpu_us_per_step"] == pytest.approx(900.0)
    assert measured["limit_steps_per_second"] == pytest.approx(2 / 900e-6)


def test_what_is_said_of_training_end_to_end():
    run = report.summarize([{"parts": {}, "end_to_end": END_TO_END}], cores=2)["end_to_end"]
    assert run["acted_steps_per_second"] == 2010.0
    assert run["learned_steps_per_second"] == 2000.0
    assert run["cpu_us_per_step"] == pytest.approx(950.0)
    assert run["cores_used"] == pytest.approx(1.9)
    assert run["cores_used_by_others"] == pytest.approx(0.1)
    assert run["mean_policy_lag_learner_steps"] == 1.5


def test_ratios_are_of_the_slower_of_acting_and_learning():
    measured = {"parts": PARTS, "end_to_end": END_TO_END, "acme_tf": ACME_TF}
    measured = report.summarize([measured], cores=2)
    assert measured["end_to_end_over_limit"] == pytest.approx(2000.0 / (2 / 900e-6))
    assert measured["end_to_end_over_acme_tf"] == 16.0


def test_without_all_parts_there_is_no_limit():
    parts = {name: PARTS[name] for name in ("environment", "policy", "loss")}
    rounds = [{"parts": parts, "end_to_end": END_TO_END}]
    measured = report.summarize(rounds, cores=2)
    assert set(measured) == {"parts", "end_to_end", "rounds"}
    assert measured["rounds"] == rounds


def test_a_machine_that_changes_from_round_to_round_changes_no_ratio():
    def in_round(slowness):
        """What is done in as many seconds and as much CPU time by a machine so much slower."""

        def slower(turn):
            steps = {name: n / slowness for name, n in turn.items() if name.endswith("steps")}
            return {**turn, **steps, "mean_policy_lag_learner_steps": 1.5}

        return {
            "parts": {name: slower(part) for name, part in PARTS.items()},
            "end_to_end": slower(END_TO_END),
            "acme_tf": slower(ACME_TF),
        }

    steady, changing = (
        report.summarize([in_round(slowness) for slowness in all_of_them], cores=2)
        for all_of_them in ([1.0, 1.0, 1.0], [1.0, 2.0, 1.5])
    )
    for name in ("end_to_end_over_limit", "end_to_end_over_acme_tf"):
        assert changing[name] == pytest.approx(steady[name])
    mean_speed = (1 + 1 / 2 + 1 / 1.5) / 3
    assert changing["acme_tf"]["steps_per_second"] == pytest.approx(125.0 * mean_speed)
    assert changing["end_to_end"]["mean_policy_lag_learner_steps"] == 1.5


def test_table_names_all_that_was_measured():
    measured = {"parts": PARTS, "end_to_end": END_TO_END, "acme_tf": ACME_TF}
    table = report.show(report.summarize([measured], cores=2))
    names = (*PARTS, "limit", "end to end, acted", "end to end, learned", "Acme's TF IMPALA")
    for name in (*names, "policy lag", "end to end / limit", "end to end / Acme's"):
        assert name in table


def test_machine_is_described():
    described = json.loads(json.dumps(machine.describe()))
    assert described["cores"] >= 1
    assert machine.in_words(described).endswith(("oneDNN on", "oneDNN off"))
