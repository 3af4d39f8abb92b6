"""Where every acted frame went: learned, dropped, or still on its way when the program ended.

Actors and learner keep ledgers, small files that are mapped into their memory, so what they have
written down outlives them. One that is killed leaves its last numbers behind, but for the step that
it was at.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from acme_impala.experiments.run_directory import RunDirectory

_TOTAL = "total"
_SUFFIX = ".ledger"


class ActorEntry(NamedTuple):
    """What an actor says of its time with one life of the learner, in environment frames.

    Attributes:
        acted: since its beginning.
        confirmed: those of them that the queue has taken.
        in_hand: those of them in unrolls that are not full yet.
        dropped_restart: those of them in unrolls that were dropped, because an environment was lost
            in the middle and started anew.
        step: frames of one step of all its environments; an actor that was killed may have acted as
            many more.
        is_complete: whether the queue has taken all others.
        has_ended: whether these are its last words; 0 where it was killed.
    """

    acted: int = 0
    confirmed: int = 0
    in_hand: int = 0
    dropped_restart: int = 0
    step: int = 0
    is_complete: int = 0
    has_ended: int = 0

    @property
    def unconfirmed(self) -> int:
        """Frames of which nobody knows whether the queue has taken them, at the most."""
        if self.has_ended and self.is_complete:
            return 0
        in_hand = self.in_hand if self.has_ended else 0  # Of one killed they were lost, too.
        return self.acted - self.confirmed - self.dropped_restart - in_hand


class LearnerEntry(NamedTuple):
    """What a life of the learner's process says, in environment frames.

    Attributes:
        fresh_before, replayed_before, dropped_lag_before, dropped_nonfinite_before: the learner's
            `frame_counts` when the life began.
        taken: fresh frames that it has learned or dropped since, by the end of a step.
    """

    fresh_before: int = 0
    replayed_before: int = 0
    dropped_lag_before: int = 0
    dropped_nonfinite_before: int = 0
    taken: int = 0

    @classmethod
    def at(cls, frame_counts: Mapping[str, int]) -> "LearnerEntry":
        """The first entry of a life that begins with these frame counts."""
        return cls(**{f"{name}_before": n for name, n in frame_counts.items()})

    @property
    def counts_before(self) -> dict[str, int]:
        """The frame counts that the life began with."""
        return {
            name.removesuffix("_before"): n for name, n in self._asdict().items() if name != "taken"
        }

    @property
    def taken_before(self) -> int:
        """Fresh frames that had been learned or dropped when the life began."""
        return taken(self.counts_before)


def taken(frame_counts: Mapping[str, int]) -> int:
    """Fresh frames that were learned or dropped, of a learner's `frame_counts`."""
    return sum(frame_counts.values()) - frame_counts["replayed"]


class Ledger:
    """A file of a few numbers that is written anew with every step."""

    def __init__(self, path: pathlib.Path, entry: NamedTuple):
        """Makes the file, with a first entry; one that is there already is never seen half made."""
        fresh = path.with_suffix(".new")
        np.array(entry, np.int64).tofile(fresh)
        os.replace(fresh, path)
        self._file = np.memmap(path, np.int64, "r+")
        self._numbers = np.asarray(self._file)  # Numpy's own arrays are written to by C alone.

    def write(self, entry: NamedTuple):
        """Writes an entry in place of the one before; costs about a microsecond."""
        self._numbers[:] = entry

    def close(self, entry: NamedTuple):
        """Writes the last entry, for other hosts too."""
        self._numbers[:] = entry
        self._file.flush()


def open_actors(directory: RunDirectory, actor: str, life: int, learner_life: int) -> Ledger:
    """Opens an actor's ledger for its time with a life of the learner."""
    path = directory.accounts / f"{actor}.{life}.{learner_life}{_SUFFIX}"
    return Ledger(path, ActorEntry())


def open_learners(directory: RunDirectory, life: int, entry: LearnerEntry) -> Ledger:
    """Opens the ledger of a life of the learner with its first entry."""
    return Ledger(directory.accounts / f"learner.{life}{_SUFFIX}", entry)


def actors_with(directory: RunDirectory, learner_life: int) -> dict[tuple[str, int], ActorEntry]:
    """Returns what the actors say of a life of the learner, by their names and lives."""
    return {
        (actor, life): entry
        for actor, life, other, entry in _read_actors(directory)
        if other == learner_life
    }


def settle(
    directory: RunDirectory,
    learner_life: int,
    frame_counts: Mapping[str, int],
    dropped_filling: int,
    queued: int | None,
    room: int,
) -> Mapping[str, int] | None:
    """Writes down the whole, in environment frames since the start of the program.

    What an actor that was killed, or cut off at the end, had acted and the queue had not confirmed
    may have arrived nevertheless; what is missing at the end was dropped with it, and can be no
    more than that. When the learner's process has died, all that was acted for it and is not in
    the checkpoint that the next goes on from was dropped; and what it had not yet taken must have
    had room in the queue.

    Args:
        directory: the run's, in which the actors have ended.
        learner_life: that the program ends with.
        frame_counts: the learner's.
        dropped_filling: frames that were only to fill the replay table.
        queued: frames that were written and not learned from; None: not known.
        room: frames that fit between actors and learner: queue, batches on their way.

    Returns:
        What `accounts/total.json` holds; `difference` is what cannot be accounted for, and 0. None
        where the end was not orderly, so that nobody can know.
    """
    last = actors_with(directory, learner_life).values()
    ended = [actor for actor in last if actor.has_ended]
    if queued is None:
        return None
    lives = learners(directory)
    before = lives[min(lives)].counts_before
    learned = {name: n - before[name] for name, n in frame_counts.items()}
    taken_in_last = taken(frame_counts) - lives[learner_life].taken_before
    in_hand = sum(actor.in_hand for actor in ended)
    dropped_restart = sum(actor.dropped_restart for _, _, _, actor in _read_actors(directory))
    missing = (
        sum(actor.acted - actor.dropped_restart for actor in last)
        - taken_in_last
        - dropped_filling
        - queued
        - in_hand
    )
    least = -sum(actor.step for actor in last if not actor.has_ended)
    most = sum(actor.unconfirmed for actor in last)
    dropped_unconfirmed = min(max(missing, least), most)
    difference = missing - dropped_unconfirmed
    dropped_learner_died = 0
    for life, next_life in itertools.pairwise(sorted(lives)):
        entry, successor = lives[life], lives[next_life]
        actors = actors_with(directory, life).values()
        acted = sum(actor.acted - actor.dropped_restart for actor in actors)
        kept = successor.taken_before - entry.taken_before
        dropped_learner_died += acted - kept
        confirmed = sum(actor.confirmed for actor in actors)
        steps = sum(actor.step for actor in actors)
        # Whatever of this is above zero cannot be.
        difference += max(0, confirmed - entry.taken - room)
        difference += max(0, entry.taken - acted - steps)
        difference += max(0, kept - entry.taken - room)
    total = {
        "acted": sum(actor.acted for _, _, _, actor in _read_actors(directory)),
        "learned_fresh": learned["fresh"],
        "dropped_lag": learned["dropped_lag"],
        "dropped_nonfinite": learned["dropped_nonfinite"],
        "dropped_filling": dropped_filling,
        "dropped_restart": dropped_restart,
        "dropped_unconfirmed": dropped_unconfirmed,
        "dropped_learner_died": dropped_learner_died,
        "queued": queued,
        "in_hand": in_hand,
        "difference": difference,
        "learned_replayed": learned["replayed"],
    }
    _write(directory, total)
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


def _read_actors(directory: RunDirectory) -> Iterator[tuple[str, int, int, ActorEntry]]:
    """Gives names of actors, their lives, the learner's, and what they say of that time."""
    for path in sorted(directory.accounts.glob(f"actor_*{_SUFFIX}")):
        actor, life, learner_life = path.stem.split(".")
        yield actor, int(life), int(learner_life), ActorEntry(*_read(path))


def learners(directory: RunDirectory) -> dict[int, LearnerEntry]:
    """Returns what the learner's lives say; one that died while it started has said nothing."""
    paths = directory.accounts.glob(f"learner.*{_SUFFIX}")
    return {int(path.stem.split(".")[1]): LearnerEntry(*_read(path)) for path in paths}


def _read(path: pathlib.Path) -> list[int]:
    return np.fromfile(path, np.int64).tolist()


def _write(directory: RunDirectory, total: Mapping[str, int]):
    path = directory.accounts / f"{_TOTAL}.json"
    fresh = path.with_suffix(".new")  # Written aside and moved: whoever looks finds it whole.
    fresh.write_text(json.dumps(total, indent=2) + "\n")
    os.replace(fresh, path)
