"""Programs before they are launched: what their nodes are, and which are refused."""

import dataclasses

import launchpad as lp
import pytest

from acme_impala import ExperimentConfig, make_program
from acme_impala.experiments import launch

from .runs import catch_config


def test_impossible_programs_are_refused_before_anything_is_touched(tmp_path):
    config = catch_config(tmp_path / "run")
    for num_actors in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="num_actors must be"):
            make_program(config, num_actors)
    frames = dataclasses.replace(config, agent=dataclasses.replace(config.agent, frames_per_step=4))
    with pytest.raises(ValueError, match=r"takes 1 environment frames.* frames_per_step=4"):
        make_program(frames, 1)
    with pytest.raises(ValueError, match="launch_type must be one of local_mp, local_mt"):
        launch(config, 1, launch_type="vertex_ai")
    assert not (tmp_path / "run").exists()


def test_a_program_has_a_node_for_every_role(tmp_path):
    config: ExperimentConfig = catch_config(tmp_path / "run")
    program = make_program(config, 3)
    sizes = {label: len(nodes) for label, nodes in program.groups.items()}
    assert sizes == {"learner": 1, "actor": 3}
    kinds = [[type(node) for node in process.nodes] for process in program.get_all_nodes()]
    replay, counter, learner = kinds[0]
    assert issubclass(replay, lp.ReverbNode)
    assert counter is learner is lp.CourierNode
    assert kinds[1:] == [[lp.PyNode, lp.PyNode], [lp.PyNode], [lp.PyNode]]  # Actor and evaluator.
