"""What became of every frame, from what actors and learner have written down."""

import pytest

from acme_impala.experiments import accounts
from acme_impala.experiments.accounts import ActorEntry, LearnerEntry
from acme_impala.experiments.run_directory import RunDirectory

# It has delivered all that it can.
COMPLETE = ActorEntry(acted=1000, confirmed=980, in_hand=20, step=4, is_complete=1, has_ended=1)
CUT_OFF = ActorEntry(acted=1000, confirmed=700, in_hand=40, step=4, has_ended=1)
KILLED = ActorEntry(acted=1000, confirmed=700, in_hand=40, step=4)


def settle(path, actors, learned, queued=0):
    """The total of a run in which so many frames were learned."""
    directory = RunDirectory(str(path))
    directory.accounts.mkdir(parents=True)
    for number, entry in enumerate(actors):
        accounts.open_actors(directory, f"actor_{number}", 0, 0).close(entry)
    accounts.open_learners(directory, 0, LearnerEntry())
    counts = {"fresh": learned, "replayed": 0, "dropped_lag": 0, "dropped_nonfinite": 0}
    return accounts.settle(directory, 0, counts, 0, queued, room=100)


@pytest.mark.parametrize(
    ("last", "learned", "dropped", "difference"),
    [
        (COMPLETE, 1960, 0, 0),
        (COMPLETE, 1956, 0, 4),  # Missing.
        (COMPLETE, 1964, 0, -4),  # Learned twice.
        (CUT_OFF, 980 + 700, 260, 0),  # Nothing more has arrived,
        (CUT_OFF, 980 + 960, 0, 0),  # everything,
        (CUT_OFF, 980 + 800, 160, 0),  # or a part.
        (CUT_OFF, 980 + 696, 260, 4),  # Confirmed, and not there.
        (CUT_OFF, 980 + 964, 0, -4),
        (KILLED, 980 + 700, 300, 0),  # What it had in hand has gone with it.
        (KILLED, 980 + 1004, -4, 0),  # It was at a step that it had not written down.
        (KILLED, 980 + 1008, -4, -4),
    ],
)
def test_what_was_not_confirmed_may_be_missing_and_nothing_else(
    tmp_path, last, learned, dropped, difference
):
    total = settle(tmp_path, [COMPLETE, last], learned)
    assert total["dropped_unconfirmed"] == dropped
    assert total["difference"] == difference


def test_nobody_knows_where_the_queue_was_not_counted(tmp_path):
    assert settle(tmp_path, [COMPLETE], 980, queued=None) is None
