"""A place says what its process does as often as it is asked."""

import sys
from types import SimpleNamespace

from acme_impala.experiments import ray_place

# Says a word, and ends when it has been told something.
PROCESS = """
import os, sys
os.write(int(sys.argv[1]), b"stop\\n")
os.read(0, 1)
sys.exit(3)
"""


def test_an_answer_that_was_lost_is_given_again(tmp_path, monkeypatch):
    util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(util=util))
    (tmp_path / "saying.py").write_text(PROCESS)
    place = ray_place.RayPlace("one")
    assert place.event(0, 0.0) == (ray_place.NONE, 0)
    place.start("saying", b"", 0, {"PYTHONPATH": str(tmp_path)})
    assert place.event(1, 0.0) is None
    assert place.event(0, 60.0) == place.event(0, 60.0) == ("stop", 0)
    place.tell(b"on")
    assert place.event(1, 60.0) == place.event(1, 60.0) == (ray_place.ENDED, 3)
    place.end()
    assert place.event(0, 0.0) == (ray_place.NONE, 0)
