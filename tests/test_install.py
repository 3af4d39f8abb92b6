"""The package as it is installed for its own tests and commands."""

import subprocess
import sys


def test_it_is_found_beside_a_folder_of_its_name(tmp_path):
    """Such as a clone of the repository."""
    (tmp_path / "acme_impala").mkdir()
    code = "import importlib.util; print(importlib.util.find_spec('acme_impala').origin)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("acme_impala/__init__.py")
