"""What the measurements of a task say together, and how it is shown."""

import statistics
from typing import Any

# Each is done for every agent step; their costs add up.
ADDED_PARTS = ("environment", "policy", "transport", "learner")


_RATIOS = {
    "end_to_end_over_limit": "end to end / limit",
    "end_to_end_over_acme_tf": "end to end / Acme's",
}


def summarize(rounds: list[dict[str, Any]], cores: int) -> dict[str, Any]:
    """Returns the median over rounds of every figure, and of the ratios within each round.

    Args:
        rounds: of one task, as `add_ratios` takes them; all have the same. They are in what is
            returned, with their ratios, as 'rounds'.
        cores: of the machine.
    """
    rounds = [add_ratios(one, cores) for one in rounds]
    return {**_medians(rounds), "rounds": rounds}


def _medians(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _medians([one[name] for one in values]) for name in values[0]}
    return statistics.median(values)


def add_ratios(measured: dict[str, Any], cores: int) -> dict[str, Any]:
    """Adds the limit and what is held against it, where there is enough to tell.

    Args:
        measured: of one task: 'parts' by name, 'end_to_end', 'acme_tf'; any may be missing.
        cores: of the machine.
    """
    parts, end_to_end = measured.get("parts", {}), measured.get("end_to_end")
    measured = dict(measured)
    if set(ADDED_PARTS) <= set(parts):
        cost = sum(parts[name]["cpu_us_per_step"] for name in ADDED_PARTS)
        measured["parts_cpu_us_per_step"] = cost
        measured["limit_steps_per_second"] = cores / cost * 1e6
    if end_to_end:
        rate = min(end_to_end[f"{what}_steps_per_second"] for what in ("acted", "learned"))
        if "limit_steps_per_second" in measured:
            measured["end_to_end_over_limit"] = rate / measured["limit_steps_per_second"]
        if "acme_tf" in measured:
            measured["end_to_end_over_acme_tf"] = rate / measured["acme_tf"]["steps_per_second"]
    return measured


def show(measured: dict[str, Any]) -> str:
    """A table of what was measured of one task."""
    lines = [f"{'':24}{'CPU us a step':>14}{'steps/s':>12}"]

    def add(name: str, cpu_us: float | None, rate: float, note: str = ""):
        cpu = "" if cpu_us is None else f"{cpu_us:.{1 if cpu_us >= 10 else 2}f}"
        lines.append(f"{name:24}{cpu:>14}{rate:>12,.0f}  {note}".rstrip())

    for name, part in measured.get("parts", {}).items():
        note = ""
        if "share_of_learner_step" in part:
            note = (
                f"V-trace and loss: {part['share_of_learner_step']:.2%} of a learner step of "
                f"unrolls of {part['unroll_length']}"
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
    for ratio, name in _RATIOS.items():
        if ratio in measured:
            each = [one[ratio] for one in measured["rounds"]]
            lines.append(
                f"{name:24}{'':14}{measured[ratio]:>12.2f}  {min(each):.2f} to {max(each):.2f} in "
                f"{len(each)} rounds"
            )
    return "\n".join(lines)
