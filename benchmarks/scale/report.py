"""How a simulation is shown."""

from collections.abc import Sequence

_COLUMNS = (
    ("actors", "actors", "{:.0f}"),
    ("unrolls/s", "unrolls_per_second", "{:.1f}"),
    ("steps/s", "steps_per_second", "{:.1f}"),
    ("asked/s", "asked_per_second", "{:.0f}"),
    ("sent/s", "sent_per_second", "{:.1f}"),
    ("a version", "sent_per_version", "{:.1f}"),
    ("MB/s", "sent_megabytes_per_second", "{:.1f}"),
    ("weights", "serving_cores", "{:.3f}"),
    ("unrolls", "taking_cores", "{:.3f}"),
    ("lag mean", "policy_lag_mean", "{:.1f}"),
    ("max", "policy_lag_max", "{:.0f}"),
    ("idle", "idle_cores", "{:.2f}"),
)


def show(measured: Sequence[dict[str, float]]) -> str:
    """A table of what was measured: 'weights' and 'unrolls' are cores of the learner's host."""
    lines = ["".join(f"{title:>10}" for title, _, _ in _COLUMNS)]
    for row in measured:
        values = {**row, "sent_megabytes_per_second": row["sent_bytes_per_second"] / 1e6}
        lines.append("".join(f"{form.format(values[name]):>10}" for _, name, form in _COLUMNS))
    return "\n".join(lines)
