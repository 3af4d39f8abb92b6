"""The cache of maps: whole maps or none, whoever else writes; used by the fake as the real one."""

import os
import subprocess
import sys
import zipfile

import pytest

from acme_impala.environments import LabEnvironment, LabOptions
from acme_impala.environments.dmlab_process import level_cache
from acme_impala.environments.dmlab_process.level_cache import LevelCache

from .fake_dmlab import PATH


def make_map(path, text):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("map", text)
    return str(path)


def read_map(path):
    with zipfile.ZipFile(path) as file:
        return file.read("map").decode()


def test_a_map_that_was_written_is_fetched(tmp_path):
    cache = LevelCache(str(tmp_path / "deep" / "cache"))
    target = str(tmp_path / "target")
    assert not cache.fetch("a/key of ../any kind", target)
    assert not os.path.exists(target)
    cache.write("a/key of ../any kind", make_map(tmp_path / "made", "corridor"))
    assert cache.fetch("a/key of ../any kind", target) is True
    assert read_map(target) == "corridor"
    assert not cache.fetch("another key", target)
    assert len(os.listdir(tmp_path / "deep" / "cache")) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", b"garbage"])
def test_what_is_no_map_is_a_miss_and_is_written_anew(tmp_path, damage):
    cache, target = LevelCache(str(tmp_path / "cache")), str(tmp_path / "target")
    made = make_map(tmp_path / "made", "corridor")
    cache.write("key", made)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(damage)
    assert not cache.fetch("key", target)
    cache.write("key", made)
    assert cache.fetch("key", target)
    assert read_map(target) == "corridor"


def test_a_cache_that_cannot_be_used_ends_no_process(tmp_path, capsys):
    """An exception in it would."""
    (tmp_path / "file").write_text("no directory")
    cache = LevelCache(str(tmp_path / "file" / "cache"))
    cache.write("key", make_map(tmp_path / "made", "corridor"))
    assert not cache.fetch("key", str(tmp_path / "target"))
    cache = LevelCache(str(tmp_path / "cache"))
    cache.write("key", str(tmp_path / "no such map"))
    assert os.listdir(tmp_path / "cache") == []
    assert capsys.readouterr().err.count("The level cache: ") == 2


# In a process: writes its own map of the one key and fetches whoever's is there.
WRITE_AND_FETCH = """
import sys, zipfile
from level_cache import LevelCache
letter = sys.argv[1]
cache = LevelCache("cache")
with zipfile.ZipFile(letter, "w") as file:
    file.writestr("map", letter * 100_000)
for _ in range(300):
    cache.write("key", letter)
    assert cache.fetch("key", "fetched by " + letter)
    with zipfile.ZipFile("fetched by " + letter) as file:
        found = file.read("map").decode()
    assert found == found[0] * 100_000
"""


def test_processes_may_share_a_directory(tmp_path):
    """A map is of one letter: one that was mixed of two would show."""
    path = os.path.dirname(level_cache.__file__)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_AND_FETCH, letter],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
        )
        for letter in "abcd"
    ]
    assert [process.wait(30) for process in processes] == [0] * 4
    assert len(os.listdir(tmp_path / "cache")) == 1  # And nothing half-written beside it.


def test_a_level_keeps_its_maps_and_plays_from_them(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PATH))
    monkeypatch.chdir(tmp_path)  # Where the fake makes its maps.
    for seed in range(2):
        options = LabOptions(level_cache=str(tmp_path / "cache"))
        environment = LabEnvironment("tests/cached", options, seed)
        for _ in range(8):
            environment.reset()
        assert environment.restarts == 0
        environment.close()
    assert 1 <= len(os.listdir(tmp_path / "cache")) <= 3
