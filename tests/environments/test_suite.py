"""Several tasks by one name."""

import pytest

from acme_impala.environments import (
    ATARI_57,
    AtariOptions,
    EnvironmentFactory,
    TaskSuite,
    is_suite,
    make_factory,
    tasks_of,
)


def test_a_name_is_a_task_and_several_are_a_suite():
    assert make_factory("catch") == EnvironmentFactory("catch")
    suite = make_factory("atari:pong, gym:CartPole-v1", last_action_and_reward=True)
    assert [task.name for task in tasks_of(suite)] == ["atari:pong", "gym:CartPole-v1"]
    assert all(task.last_action_and_reward for task in tasks_of(suite))
    assert tasks_of(suite.tasks[0]) == (suite.tasks[0],)


def test_atari_57_is_all_its_games_by_one_name():
    suite = make_factory("atari57", atari=AtariOptions(full_action_space=True))
    assert [task.name for task in tasks_of(suite)] == [f"atari:{game}" for game in ATARI_57]
    assert len(suite.tasks) == 57
    assert suite.name == "atari57"
    assert is_suite("atari57")
    assert not is_suite("atari:pong")
    with_more = make_factory("atari57,catch")
    assert len(with_more.tasks) == 58
    with pytest.raises(ValueError, match="has tasks twice: atari:pong"):
        make_factory("atari57,atari:pong")


def test_it_stands_for_its_first_task_where_one_will_do():
    suite = make_factory("catch,memory")
    assert suite(3).observation_spec() == EnvironmentFactory("catch")(3).observation_spec()
    assert suite.batch(3, 2).num_environments == 2
    assert not suite.batches_run_in_background
    assert make_factory("atari:pong,atari:boxing").batches_run_in_background


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("catch,catch", "has tasks twice: catch"),
        ("atari:pong,atari:Pong", "has tasks twice: atari:Pong, atari:pong"),
        ("dmlab:rooms_watermaze,dmlab:contributed/dmlab30/rooms_watermaze", "has tasks twice"),
        ("catch,", "name is missing"),
        ("", "name is missing"),
        ("atari-57", "no suite 'atari-57'. Suites are atari57 and dmlab30"),
        ("catch,dmlab", "no environment 'dmlab'"),
        ("catch,atarri:pong", "no environment 'atarri:pong'"),
    ],
)
def test_names_that_make_no_suite_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        make_factory(name)


def test_a_suite_of_one_is_refused():
    with pytest.raises(ValueError, match="needs at least two tasks"):
        TaskSuite("one", (EnvironmentFactory("catch"),))
