"""The run directory: what it refuses, whose it is, and what it keeps."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from acme_impala import IMPALAConfig, LinearSchedule
from acme_impala.experiments import run_directory

from .runs import catch_config


@pytest.fixture(autouse=True)
def _let_go():
    yield
    for root in list(run_directory._locks):
        run_directory.release(run_directory.RunDirectory(str(root)))


def test_it_is_made_with_its_parents(tmp_path):
    config = catch_config(tmp_path / "a" / "b")
    directory = run_directory.claim(config)
    for path in (directory.checkpoints, directory.logs, directory.tensorboard, directory.failures):
        assert path.is_dir()
    assert run_directory.read_config(directory) == config.to_json()
    assert not list(directory.root.glob("*.new"))


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ValueError, match=f"workdir={path} is a file"):
        run_directory.claim(catch_config(path))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("below", ["file/run", "file/run/deeper"])
def test_a_directory_that_cannot_be_made_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        run_directory.claim(catch_config(tmp_path / below))


def test_a_file_system_that_takes_no_directory_is_refused():
    with pytest.raises(ValueError, match="workdir=/proc/run cannot be written"):
        run_directory.claim(catch_config("/proc/run"))


def test_a_file_where_a_directory_should_be_is_refused(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        run_directory.claim(catch_config(tmp_path))


def test_the_same_config_takes_it_up_again(tmp_path):
    directory = run_directory.claim(catch_config(tmp_path))
    (directory.logs / "learner.csv").write_text("frames\n")
    (directory.failures / "1-actor_0.txt").write_text("an old failure")
    run_directory.release(directory)
    run_directory.claim(catch_config(tmp_path))
    assert (directory.logs / "learner.csv").exists()
    assert not list(directory.failures.iterdir())


def test_another_config_is_refused_and_every_field_named(tmp_path):
    config = catch_config(tmp_path)
    directory = run_directory.claim(config)
    run_directory.release(directory)
    other = dataclasses.replace(
        config, seed=7, agent=dataclasses.replace(config.agent, batch_size=9), target_return=0.5
    )
    with pytest.raises(ValueError, match="another config") as error:
        run_directory.claim(other)
    message = str(error.value)
    assert f"agent.batch_size: stored {config.agent.batch_size}, now 9" in message
    assert "seed: stored 0, now 7" in message
    assert "target_return: stored None, now 0.5" in message
    assert message.count("stored") == 3
    assert "--accept_new_config" in message
    assert run_directory.read_config(directory) == config.to_json()


def test_a_field_of_another_kind_is_named(tmp_path):
    config = catch_config(tmp_path, agent=IMPALAConfig(entropy_cost=0.01))
    run_directory.release(run_directory.claim(config))
    annealed = dataclasses.replace(
        config,
        agent=dataclasses.replace(config.agent, entropy_cost=LinearSchedule(0.01, 0.0, 100)),
    )
    with pytest.raises(ValueError, match=r"agent\.entropy_cost: stored 0\.01, now nothing"):
        run_directory.claim(annealed)


def test_another_config_is_taken_on_purpose(tmp_path):
    config = catch_config(tmp_path)
    run_directory.release(run_directory.claim(config))
    other = dataclasses.replace(config, seed=7)
    directory = run_directory.claim(other, accept_new_config=True)
    assert run_directory.read_config(directory)["seed"] == 7


def test_after_a_refusal_the_same_process_can_try_again(tmp_path):
    config = catch_config(tmp_path)
    run_directory.release(run_directory.claim(config))
    other = dataclasses.replace(config, seed=7)
    with pytest.raises(ValueError, match="another config"):
        run_directory.claim(other)
    run_directory.claim(other, accept_new_config=True)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_stored_config_that_was_cut_short_is_refused(tmp_path, length):
    directory = run_directory.claim(catch_config(tmp_path))
    run_directory.release(directory)
    directory.config.write_text(directory.config.read_text()[:length])
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        run_directory.claim(catch_config(tmp_path))


@pytest.mark.parametrize("stored", ["3", "[]", '"text"', "null"])
def test_a_stored_config_without_fields_is_refused(tmp_path, stored):
    directory = run_directory.claim(catch_config(tmp_path))
    run_directory.release(directory)
    directory.config.write_text(stored)
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        run_directory.read_config(directory)


def test_a_directory_without_a_run_has_no_config(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run: there is no config\.json"):
        run_directory.read_config(run_directory.RunDirectory(str(tmp_path)))


def test_a_new_field_of_the_config_is_named(tmp_path):
    directory = run_directory.claim(catch_config(tmp_path))
    run_directory.release(directory)
    fields = json.loads(directory.config.read_text())
    del fields["seed"]
    directory.config.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="seed: stored nothing, now 0"):
        run_directory.claim(catch_config(tmp_path))


def test_twice_in_one_process_is_refused_until_it_is_released(tmp_path):
    directory = run_directory.claim(catch_config(tmp_path))
    for _ in range(2):  # A refusal does not take the claim away.
        with pytest.raises(ValueError, match="in use by this process"):
            run_directory.claim(catch_config(tmp_path))
    run_directory.release(directory)
    run_directory.claim(catch_config(tmp_path))


def test_another_process_is_refused_until_the_first_is_gone(tmp_path):
    """The lock is the kernel's, so that not even SIGKILL leaves it behind."""
    code = (
        "import fcntl, sys, time\n"
        "lock = open(sys.argv[1], 'a')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    run_directory.release(run_directory.claim(catch_config(tmp_path)))
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / ".lock"], stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"locked\n"
    with pytest.raises(ValueError, match="in use by another run"):
        run_directory.claim(catch_config(tmp_path))
    other.send_signal(signal.SIGKILL)
    other.wait()
    run_directory.claim(catch_config(tmp_path))


@pytest.mark.parametrize("name", ["logs", "failures", "status", "accounts", "replay"])
def test_a_folder_of_somebody_elses_is_not_cleared(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=f"is no run's, .* and holds {name}, which a run would"):
        run_directory.claim(catch_config(tmp_path))
    assert (tmp_path / name / "mine.csv").read_text() == "a,b\n1,2\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_files_are_no_matter(tmp_path):
    (tmp_path / "output.txt").write_text("mine")
    assert run_directory.claim(catch_config(tmp_path)).config.exists()
    assert (tmp_path / "output.txt").read_text() == "mine"


def test_what_the_check_raises_leaves_it_as_it_was(tmp_path):
    config = catch_config(tmp_path)
    directory = run_directory.claim(config)
    run_directory.release(directory)
    (directory.failures / "1-actor.txt").write_text("why")
    other = dataclasses.replace(config, evaluation_episodes=7)

    def refuse(claimed):
        assert claimed.root == directory.root
        raise ValueError("not with me")

    with pytest.raises(ValueError, match="not with me"):
        run_directory.claim(other, accept_new_config=True, check=refuse)
    assert run_directory.read_config(directory) == config.to_json()
    assert (directory.failures / "1-actor.txt").exists()
    run_directory.claim(other, accept_new_config=True)
