"""DeepMind Lab, over a fake of its module that does what the real one was seen to do."""

import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import dm_env
import numpy as np
import psutil
import pytest
import tree
from acme.specs import make_environment_spec

from acme_impala import environments, networks
from acme_impala.environments import (
    EnvironmentFactory,
    LabEnvironment,
    LabOptions,
    dmlab,
    lab_worker,
)
from acme_impala.environments.words import HASH_BUCKETS, word_ids
from acme_impala.experiments import PRESETS

from .fake_dmlab import PATH, seed_and_frame

FORWARD, STRAFE_LEFT, STRAFE_RIGHT = 0, 2, 3
ROOT = PATH.parents[2]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.syspath_prepend(str(PATH))


@contextlib.contextmanager
def playing(name, options=None, **arguments):
    with contextlib.closing(LabEnvironment(name, options, **arguments)) as environment:
        yield environment


def play_until_last(environment, action=STRAFE_RIGHT):
    timesteps = [environment.reset()]
    while not timesteps[-1].last():
        timesteps.append(environment.step(action))
    return timesteps


def picture(timestep):
    return timestep.observation["RGB_INTERLEAVED"]


def test_an_episode_from_its_first_step_to_its_last():
    """42 frames: ten agent steps, and one of two frames whose reward counts."""
    with playing("tests/short") as environment:
        for _ in range(2):
            timesteps = play_until_last(environment)
            assert [t.step_type for t in timesteps] == [0] + [1] * 10 + [2]
            assert [t.reward for t in timesteps] == [None] + [4.0] * 10 + [2.0]
            assert [t.discount for t in timesteps] == [None] + [1.0] * 10 + [0.0]
            shown = [seed_and_frame(picture(t))[1] for t in timesteps]
            assert shown == [4 * i for i in range(11)] + [40]  # Nothing is shown after the end.
        for timestep in timesteps:
            tree.map_structure(
                lambda spec, x: spec.validate(x),
                environment.observation_spec(),
                timestep.observation,
            )
        assert timesteps[-1].reward.dtype == timesteps[-1].discount.dtype == np.float32
        assert timesteps[5].discount.dtype == np.float32
        assert environment.step(FORWARD).first()  # The step after the last restarts.
        assert environment.step(FORWARD).mid()
        assert environment.restarts == 0
        with pytest.raises(ValueError, match=r"0 \.\. 8, got 9"):
            environment.step(9)


def test_pictures_are_96_by_72_and_what_was_shown_is_not_written_to():
    with playing("rooms_watermaze") as environment:
        first = environment.reset()
        copy = picture(first).copy()
        assert copy.shape == (72, 96, 3)
        assert copy.dtype == np.uint8
        environment.step(FORWARD)
        np.testing.assert_array_equal(picture(first), copy)
        assert not first.observation["INSTR"].any()


def test_the_instruction_is_its_words_and_changes_within_an_episode():
    with playing("language_select_described_object") as environment:
        environment.reset()
        words = [environment.step(FORWARD).observation["INSTR"] for _ in range(12)]
    red, blue = word_ids("Pick the red cat", 16), word_ids("Pick the blue ball", 16)
    for i, got in enumerate(words):
        np.testing.assert_array_equal(got, red if 4 * (i + 1) < 40 else blue)
    assert (red[:2] == blue[:2]).all()
    assert (red[2:4] != blue[2:4]).all()
    assert red[:4].all()
    assert not red[4:].any()


def test_words_are_the_same_numbers_everywhere():
    """Numbers that were written down once: another hash would make stored networks useless."""
    words = [924, 79, 456, 833]
    assert word_ids("pick the red cat", 5).tolist() == [*words, 0]
    assert word_ids("pick  the\tred cat", 2).tolist() == words[:2]
    many = word_ids(" ".join(map(str, range(5000))), 5000)
    assert many.min() == 1
    assert many.max() == HASH_BUCKETS


def test_the_seed_decides_the_episodes_and_each_has_its_own():
    def seeds(seed):
        with playing("tests/short", seed=seed) as environment:
            return [seed_and_frame(picture(environment.reset()))[0] for _ in range(4)]

    assert seeds(1) == seeds(1)
    assert not set(seeds(1)) & set(seeds(2))
    assert len(set(seeds(1))) == 4


def test_the_action_set_and_its_repeat_are_options():
    options = LabOptions(
        width=32,
        height=24,
        action_repeat=2,
        action_set=((0, 0, -1, 0, 0, 0, 0), (512, -512, 1, 0, 1, 1, 1)),
        max_words=3,
    )
    with playing("language_select_described_object", options) as environment:
        assert environment.action_spec().num_values == 2
        timestep = environment.reset()
        assert picture(timestep).shape == (24, 32, 3)
        assert timestep.observation["INSTR"].shape == (3,)
        assert [environment.step(a).reward for a in (0, 1, 0)] == [-2.0, 2.0, -2.0]


def test_the_papers_actions():
    """Nine, each once; forward is the first (PAPER's order of table D.2)."""
    actions = dmlab.PAPER_ACTIONS
    assert len(set(actions)) == len(actions) == 9
    assert actions[FORWARD] == (0, 0, 0, 1, 0, 0, 0)
    assert actions[8] == (0, 0, 0, 0, 1, 0, 0)
    assert {a[0] for a in actions} == {-20, 0, 20}
    assert not any(a[1] or a[5] or a[6] for a in actions)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 94),
        ("height", 0),
        ("action_repeat", 0),
        ("max_words", 0),
        ("renderer", "sdl"),
        ("action_set", ()),
        ("action_set", ((0, 0, 0, 1),)),
        ("action_set", ((0, 0, 0, 2, 0, 0, 0),)),
        ("action_set", ((0.5, 0, 0, 0, 0, 0, 0),)),
    ],
)
def test_impossible_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must"):
        LabOptions(**{name: value})


@pytest.mark.parametrize("evaluation", [False, True])
def test_every_task_of_dmlab_30_has_its_level(evaluation, tmp_path):
    """Of the fake, which has them by the names of the real one's files."""
    suite = environments.make_factory("dmlab30", lab=LabOptions(dataset_path=str(tmp_path)))
    made = [task(0, evaluation) for task in suite.tasks]  # At once: each is a process.
    try:
        for environment in made:
            environment.send_reset()
        assert all(environment.receive().first() for environment in made)
    finally:
        for environment in made:
            environment.close()


def test_a_task_with_a_test_level_is_evaluated_on_it():
    factory = EnvironmentFactory("dmlab:rooms_collect_good_objects")
    for evaluation in (False, True):
        with contextlib.closing(factory(0, evaluation)) as environment:
            assert environment.reset().first()
            assert environment._level == (
                "contributed/dmlab30/rooms_collect_good_objects_"
                + ("test" if evaluation else "train")
            )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rooms_watermase", {}, r"no level 'dmlab:rooms_watermase'.*closest.*rooms_watermaze"),
        ("psychlab_continuous_recognition", {}, "data set.*--dataset_path"),
        ("rooms_watermaze", {"dataset_path": "/no/such/place"}, "/no/such/place is no directory"),
        ("rooms_watermaze", {"level_cache": __file__}, "test_dmlab.py is no directory and cannot"),
    ],
)
def test_what_cannot_be_played_is_refused_with_what_would_do(name, options, message):
    factory = EnvironmentFactory(f"dmlab:{name}", lab=LabOptions(**options))
    with pytest.raises(ValueError, match=message):
        factory(0).reset()


def test_a_psychlab_level_is_given_its_pictures(tmp_path):
    options = LabOptions(dataset_path=str(tmp_path))
    with playing("psychlab_continuous_recognition", options) as environment:
        assert environment.reset().first()


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(PATH)])
    with pytest.raises(ImportError, match=r"https://github\.com.*build.*deepmind_lab"):
        LabEnvironment("rooms_watermaze").reset()


def test_a_batch_is_its_levels_side_by_side():
    factory = EnvironmentFactory("dmlab:tests/short", last_action_and_reward=True)
    assert environments.batches_run_in_background(factory)
    alone = [factory(seed) for seed in (5, 6, 7)]
    batch = factory.batch(5, 3)
    rng = np.random.default_rng(0)
    timestep, others = batch.reset(), [environment.reset() for environment in alone]
    lasts = 0
    for _ in range(30):
        for i, other in enumerate(others):
            assert timestep.step_type[i] == other.step_type
            assert timestep.reward[i] == (other.reward or 0.0)
            assert timestep.discount[i] == (other.discount or 0.0)
            tree.map_structure(
                lambda x, y, i=i: np.testing.assert_array_equal(x[i], y),
                timestep.observation,
                other.observation,
            )
        lasts += (timestep.step_type == dm_env.StepType.LAST).sum()
        actions = rng.integers(9, size=3)
        timestep = batch.step(actions)
        others = [environment.step(a) for environment, a in zip(alone, actions, strict=True)]
    assert lasts == 6
    for closing in (batch, *alone):
        closing.close()


def test_the_levels_of_a_batch_run_at_the_same_time_in_processes_of_their_own():
    batch = EnvironmentFactory("dmlab:tests/short").batch(0, 3)
    workers = [environment.pid for environment in batch._environments]
    assert len({*workers, os.getpid()}) == 4
    batch.reset()
    os.kill(workers[2], signal.SIGSTOP)  # It cannot answer,
    batch.send(np.zeros(3, np.int32))
    first = batch._environments[0].receive()  # and the others do not wait for it.
    os.kill(workers[2], signal.SIGCONT)
    assert first.mid()
    batch.close()
    assert not any(psutil.pid_exists(pid) for pid in workers)


@pytest.mark.parametrize("level", ["tests/aborts", "tests/raises", "killed"])
def test_a_level_that_is_lost_in_the_middle_of_an_episode_begins_another(level, caplog):
    with playing("tests/short" if level == "killed" else level) as environment:
        seed, _ = seed_and_frame(picture(environment.reset()))
        if level == "killed":
            environment.step(STRAFE_RIGHT)
            os.kill(environment.pid, signal.SIGKILL)
        else:
            for _ in range(24):
                assert environment.step(STRAFE_RIGHT).mid()
        timestep = environment.step(STRAFE_RIGHT)
        assert timestep.first()
        assert timestep.reward == timestep.discount == 0.0  # Loops that add rewards up go on.
        again, frame = seed_and_frame(picture(timestep))
        assert (again != seed, frame) == (True, 0)  # Else it might fail for ever.
        assert environment.restarts == 1
        assert environment.step(STRAFE_RIGHT).mid()
    why = {
        "tests/aborts": "SIGABRT.*lua_error",
        "tests/raises": "nil value",
        "killed": "SIGKILL",
    }[level]
    assert len(caplog.messages) == 1
    assert re.search(f"begins anew.*{why}", caplog.text, re.DOTALL)


def test_a_level_that_is_lost_between_two_episodes_loses_nothing():
    with playing("tests/short") as environment:
        play_until_last(environment)
        os.kill(environment.pid, signal.SIGKILL)
        timestep = environment.step(FORWARD)
        assert timestep.first()
        assert timestep.reward is None
        assert environment.restarts == 1


def test_a_level_that_does_not_answer_any_more_is_lost(monkeypatch, caplog):
    with playing("tests/short") as environment:
        environment.reset()
        monkeypatch.setattr(lab_worker, "_ANSWER_SECONDS", 4.0)
        os.kill(environment.pid, signal.SIGSTOP)
        assert environment.step(FORWARD).first()
        assert environment.restarts == 1
    assert "gave no answer for 4 s" in caplog.text


def test_a_level_that_is_lost_again_and_again_ends_with_the_last_reason(monkeypatch):
    with playing("tests/aborts_at_reset") as environment:
        with pytest.raises(environments.LabCrashedError, match=r"(?s)5 times.*SIGABRT"):
            environment.reset()
        assert environment.restarts == 4
    # Five that are far from each other are no loop.
    monkeypatch.setattr(dmlab, "LOSS_SECONDS", 0.0)
    with playing("tests/aborts") as environment:
        environment.reset()
        firsts = sum(environment.step(FORWARD).first() for _ in range(24 * 6 + 6))
        assert firsts == environment.restarts == 6


def test_what_a_level_prints_is_not_printed_and_does_not_pile_up(capfd):
    with playing("tests/talks") as environment:
        for _ in range(50):
            environment.reset()
        assert os.fstat(environment._worker._output.fileno()).st_size < 100
    assert "".join(capfd.readouterr()) == ""


def test_the_process_of_a_level_is_small_and_ends_with_its_parent(tmp_path):
    """Its parent is killed, so that nothing of its own making can end the process."""
    script = (
        "import sys, time\n"
        "from acme_impala.environments.lab_worker import LabWorker\n"
        "worker = LabWorker()\n"
        "worker.send('make', 'tests/short', {}, 'software', None)\n"
        "worker.receive()\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PATH)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        text=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    for number in (signal.SIGINT, signal.SIGTERM):  # They are for the parent, which closes it.
        os.kill(child.pid, number)
    time.sleep(0.1)
    assert child.status() != psutil.STATUS_ZOMBIE
    assert not any("tensorflow" in m.path for m in child.memory_maps())
    parent.kill()
    parent.wait()
    child.wait(10)


def test_the_factory_renders_what_the_agent_sees():
    environment = EnvironmentFactory("dmlab:tests/short")(0, render=True)
    with contextlib.closing(environment):
        first, second = environment.reset(), environment.step(FORWARD)
        shown = environment.render()
        np.testing.assert_array_equal(shown, [picture(first), picture(second)])
        third = environment.step(FORWARD)
        np.testing.assert_array_equal(environment.render(), [picture(third)])


def test_the_preset_fits_and_its_factory_can_be_sent():
    preset = PRESETS["dmlab"](1000)
    factory = EnvironmentFactory("dmlab:rooms_watermaze", last_action_and_reward=True)
    assert pickle.loads(pickle.dumps(factory)) == factory
    assert factory.lab.action_repeat == preset.agent.frames_per_step == 4
    with contextlib.closing(factory(0)) as environment:
        spec = make_environment_spec(environment)
    networks.check_network(preset.network(spec), spec)


def test_a_reset_forgets_what_is_under_way():
    """As after Ctrl-C in the middle of a step, or of a reset, of a loop that is begun again."""
    with playing("tests/short") as environment:
        for send in (environment.send_reset, lambda: environment.send(FORWARD)):
            send()
            first = environment.reset()
            assert first.first()
            assert seed_and_frame(picture(first))[1] == 0
            timestep = environment.step(STRAFE_RIGHT)
            assert timestep.mid()
            assert seed_and_frame(picture(timestep)) == (seed_and_frame(picture(first))[0], 4)


def test_a_batchs_reset_forgets_what_is_under_way():
    batch = EnvironmentFactory("dmlab:tests/short").batch(0, 2)
    batch.reset()
    batch.send(np.zeros(2, np.int32))
    assert batch.reset().step_type.tolist() == [dm_env.StepType.FIRST] * 2
    assert batch.step(np.zeros(2, np.int32)).step_type.tolist() == [dm_env.StepType.MID] * 2
    batch.close()


def test_a_video_plays_at_the_games_speed_whatever_the_action_repeat():
    for action_repeat, screens_per_second in ((4, 15), (1, 60)):
        options = LabOptions(action_repeat=action_repeat)
        with playing("tests/short", options) as environment:
            assert environment.screens_per_second == screens_per_second
