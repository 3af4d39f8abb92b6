"""Where every acted frame went: learned, dropped, or still on its way when the program ended."""

import json
import os
from collections.abc import Mapping

from acme_impala.experiments.run_directory import RunDirectory

_TOTAL = "total"


def hand_in(
    directory: RunDirectory,
    actor: str,
    *,
    acted: int,
    in_hand: int,
    dropped_restart: int,
    is_complete: bool,
):
    """Says at the end of an actor what became of its frames.

    Args:
        directory: the run's.
        actor: the node's name.
        acted: environment frames since the start of the program.
        in_hand: those of them in unrolls that were not full yet.
        dropped_restart: those of them in unrolls that were dropped, because an environment was lost
            in the middle and started anew.
        is_complete: whether the queue has taken all others.
    """
    values = {
        "acted": acted,
        "in_hand": in_hand,
        "dropped_restart": dropped_restart,
        "is_complete": int(is_complete),
    }
    _write(directory, actor, values)


def handed_in(directory: RunDirectory) -> list[Mapping[str, int]]:
    """Returns what the actors that have ended said."""
    return [
        json.loads(path.read_text())
        for path in directory.accounts.glob("*.json")
        if path.stem != _TOTAL
    ]


def settle(
    directory: RunDirectory, learned: Mapping[str, int], dropped_filling: int, queued: int | None
) -> Mapping[str, int] | None:
    """Writes down the whole, in environment frames since the start of the program.

    Args:
        directory: the run's, in which all actors have handed in theirs.
        learned: the learner's `frame_counts`, less those that the run was continued with.
        dropped_filling: frames that were only to fill the replay table.
        queued: frames that were written and not learned from; None: not known.

    Returns:
        What `accounts/total.json` holds; `difference` is what cannot be accounted for, and 0. None
        where the end was not orderly, so that nobody can know.
    """
    actors = handed_in(directory)
    if queued is None or not all(actor["is_complete"] for actor in actors):
        return None
    total = {
        "acted": sum(actor["acted"] for actor in actors),
        "learned_fresh": learned["fresh"],
        "dropped_lag": learned["dropped_lag"],
        "dropped_nonfinite": learned["dropped_nonfinite"],
        "dropped_filling": dropped_filling,
        "dropped_restart": sum(actor["dropped_restart"] for actor in actors),
        "queued": queued,
        "in_hand": sum(actor["in_hand"] for actor in actors),
    }
    acted, *parts = total.values()
    total["difference"] = acted - sum(parts)
    total["learned_replayed"] = learned["replayed"]
    _write(directory, _TOTAL, total)
    return total


def describe(directory: RunDirectory) -> str:
    """One line for the end of a run."""
    path = directory.accounts / f"{_TOTAL}.json"
    if not path.exists():
        return "not settled: the run did not end in order."
    total = json.loads(path.read_text())
    dropped = sum(n for name, n in total.items() if name.startswith("dropped"))
    text = (
        f"{total['acted']} frames acted = {total['learned_fresh']} learned + {dropped} dropped + "
        f"{total['queued']} queued + {total['in_hand']} in unrolls not full yet"
    )
    if total["difference"]:
        text += f" + {total['difference']} THAT ARE MISSING"
    if total["learned_replayed"]:
        text += f"; {total['learned_replayed']} more from replay"
    return text


def _write(directory: RunDirectory, name: str, values: Mapping[str, int]):
    path = directory.accounts / f"{name}.json"
    fresh = path.with_suffix(
        ".new"
    )  # Written aside and moved: whoever waits for it finds it whole.
    fresh.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(fresh, path)
