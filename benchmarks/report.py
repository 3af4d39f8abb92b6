"""What the measurements of a task say together, and how it is shown."""

import statistics
from collections.abc import Mapping
from typing import Any

# Each is done for every agent step; their costs add up.
ADDED_PARTS = ("environment", "policy", "transport", "learner")


def summarize(rounds: list[dict[str, Any]], cores: int) -> dict[str, Any]:
    """Returns rates, costs and ratios, of all rounds together.

    A machine that is slower for a while makes everything slower that has a turn then. So rates and
    costs are quotients of sums: a round in which it is fast counts more for all of them alike.

    Args:
        rounds: of one task: 'parts' by name, and perhaps 'end_to_end' and 'acme_tf', each with what
            it did in its turn; all rounds have the same.
        cores: of the machine.
    """
    measured = _means(rounds)
    for part in measured["parts"].values():
        part |= _costs(part)
        if "learner_steps" in part:
            of_learner = _costs(part, "learner_")
            share = of_learner["learner_steps_per_second"] / part["steps_per_second"]
            part |= {**of_learner, "share_of_learner_step": share}
    if run := measured.get("end_to_end"):
        seconds, cpu = run["seconds"], run["cpu_seconds"]
        run |= {
            "acted_steps_per_second": run["acted_steps"] / seconds,
            "learned_steps_per_second": run["learned_steps"] / seconds,
            "cpu_us_per_step": cpu / run["learned_steps"] * 1e6,
            "cores_used": cpu / seconds,
            "cores_used_by_others": run["cpu_seconds_of_others"] / seconds,
        }
    if acme := measured.get("acme_tf"):
        acme["steps_per_second"] = acme["steps"] / acme["seconds"]
    return {**measured, **_ratios(measured, cores), "rounds": rounds}


def _means(values: list[Any]) -> Any:
    """The mean of every number; quotients of these are those of the sums."""
    if isinstance(values[0], dict):
        return {name: _means([one[name] for one in values]) for name in values[0]}
    return statistics.mean(values)


def _costs(part: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    steps, cpu, seconds = (part[prefix + name] for name in ("steps", "cpu_seconds", "seconds"))
    return {
        f"{prefix}cpu_us_per_step": cpu / steps * 1e6,
        f"{prefix}steps_per_second": steps / seconds,
    }


def _ratios(measured: Mapping[str, Any], cores: int) -> dict[str, float]:
    """The limit and what is held against it, where there is enough to tell."""
    parts, ratios = measured["parts"], {}
    if set(ADDED_PARTS) <= set(parts):
        cost = sum(parts[name]["cpu_us_per_step"] for name in ADDED_PARTS)
        ratios["parts_cpu_us_per_step"] = cost
        ratios["limit_steps_per_second"] = cores / cost * 1e6
    if run := measured.get("end_to_end"):
        rate = min(run[f"{what}_steps_per_second"] for what in ("acted", "learned"))
        if "limit_steps_per_second" in ratios:
            ratios["end_to_end_over_limit"] = rate / ratios["limit_steps_per_second"]
        if "acme_tf" in measured:
            ratios["end_to_end_over_acme_tf"] = rate / measured["acme_tf"]["steps_per_second"]
    return ratios


def show(measured: dict[str, Any]) -> str:
    """A table of what was measured of one task."""
    lines = [f"{'':24}{'CPU us a step':>14}{'steps/s':>12}"]

    def add(name: str, cpu_us: float | None, rate: float, note: str = ""):
        cpu = "" if cpu_us is None else f"{cpu_us:.{1 if cpu_us >= 10 else 2}f}"
        lines.append(f"{name:24}{cpu:>14}{rate:>12,.0f}  {note}".rstrip())

    for name, part in measured["parts"].items():
        note = ""
        if "share_of_learner_step" in part:
            note = (
                f"V-trace and loss: {part['share_of_learner_step']:.2%} of a learner step of "
                f"unrolls of {part['unroll_length']:.0f}"
            )
        add(name, part["cpu_us_per_step"], part["steps_per_second"], note)
    if "limit_steps_per_second" in measured:
        limit = measured["limit_steps_per_second"]
        add("limit", measured["parts_cpu_us_per_step"], limit, "cores / the parts' CPU time")
    if run := measured.get("end_to_end"):
        for what in ("acted", "learned"):
            cpu = run["cpu_us_per_step"] if what == "learned" else None
            add(f"end to end, {what}", cpu, run[f"{what}_steps_per_second"])
        lines.append(
            f"{'':24}mean policy lag {run['mean_policy_lag_learner_steps']:.2f} learner steps, "
            f"{run['pss_mib']:,.0f} MiB, {run['cores_used']:.2f} cores used (by "
            f"others {run['cores_used_by_others']:.2f}), first learner step "
            f"{run['seconds_to_first_step']:.1f} s after the start"
        )
    if acme := measured.get("acme_tf"):
        add("Acme's TF IMPALA", None, acme["steps_per_second"])
    for ratio, name in (
        ("end_to_end_over_limit", "end to end / limit"),
        ("end_to_end_over_acme_tf", "end to end / Acme's"),
    ):
        if ratio in measured:
            lines.append(f"{name:24}{'':14}{measured[ratio]:>12.2f}")
    return "\n".join(lines)
