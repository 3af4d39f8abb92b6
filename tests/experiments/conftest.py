"""What the tests of this folder begin with."""

import pytest

from acme_impala.experiments.run_directory import RunDirectory


@pytest.fixture
def directory(tmp_path):
    """A run directory in which nodes can log."""
    directory = RunDirectory(str(tmp_path))
    directory.logs.mkdir()
    directory.tensorboard.mkdir()
    return directory
