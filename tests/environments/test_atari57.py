"""Atari-57: every game is there, and the reference scores give the figures of the paper."""

import statistics

import pytest

from acme_impala.environments import (
    ATARI_57,
    AtariEnvironment,
    EnvironmentFactory,
    human_normalized_score,
    suite_scores,
)

ale_py = pytest.importorskip("ale_py")
pytest.importorskip("cv2")

# Espeholt et al. 2018, appendix, scores of each game: experts of the shallow and of the deep
# network, and one deep network for all games.
PAPER = {
    "alien": (1536.05, 15962.1, 2344.6),
    "amidar": (497.62, 1554.79, 136.82),
    "assault": (12086.86, 19148.47, 2116.32),
    "asterix": (29692.5, 300732.0, 2609.0),
    "asteroids": (3508.1, 108590.05, 2011.05),
    "atlantis": (773355.5, 849967.5, 460430.5),
    "bank_heist": (1200.35, 1223.15, 55.15),
    "battle_zone": (13015.0, 20885.0, 7705.0),
    "beam_rider": (8219.92, 32463.47, 698.36),
    "berzerk": (888.3, 1852.7, 647.8),
    "bowling": (35.73, 59.92, 31.06),
    "boxing": (96.3, 99.96, 96.63),
    "breakout": (640.43, 787.34, 35.67),
    "centipede": (5528.13, 11049.75, 4916.84),
    "chopper_command": (5012.0, 28255.0, 5036.0),
    "crazy_climber": (136211.5, 136950.0, 115384.0),
    "defender": (58718.25, 185203.0, 16667.5),
    "demon_attack": (107264.73, 132826.98, 10095.2),
    "double_dunk": (-0.35, -0.33, -1.92),
    "enduro": (0.0, 0.0, 971.28),
    "fishing_derby": (32.08, 44.85, 35.27),
    "freeway": (0.0, 0.0, 21.41),
    "frostbite": (269.65, 317.75, 2744.15),
    "gopher": (1002.4, 66782.3, 913.5),
    "gravitar": (211.5, 359.5, 282.5),
    "hero": (33853.15, 33730.55, 18818.9),
    "ice_hockey": (-5.25, 3.48, -13.55),
    "jamesbond": (440.0, 601.5, 284.0),
    "kangaroo": (47.0, 1632.0, 8240.5),
    "krull": (9247.6, 8147.4, 10807.8),
    "kung_fu_master": (42259.0, 43375.5, 41905.0),
    "montezuma_revenge": (0.0, 0.0, 0.0),
    "ms_pacman": (6501.71, 7342.32, 3415.05),
    "name_this_game": (6049.55, 21537.2, 5719.3),
    "phoenix": (33068.15, 210996.45, 7486.5),
    "pitfall": (-11.14, -1.66, -1.22),
    "pong": (20.4, 20.98, 8.58),
    "private_eye": (92.42, 98.5, 0.0),
    "qbert": (18901.25, 351200.12, 10717.38),
    "riverraid": (17401.9, 29608.05, 2850.15),
    "road_runner": (37505.0, 57121.0, 24435.5),
    "robotank": (2.3, 12.96, 9.94),
    "seaquest": (1716.9, 1753.2, 844.6),
    "skiing": (-29975.0, -10180.38, -8988.0),
    "solaris": (2368.4, 2365.0, 1160.4),
    "space_invaders": (1726.28, 43595.78, 199.65),
    "star_gunner": (69139.0, 200625.0, 1855.5),
    "surround": (-8.13, 7.56, -8.51),
    "tennis": (-1.89, 0.55, -8.12),
    "time_pilot": (6617.5, 48481.5, 3747.5),
    "tutankham": (267.82, 292.11, 105.22),
    "up_n_down": (273058.1, 332546.75, 82155.3),
    "venture": (0.0, 0.0, 1.0),
    "video_pinball": (228642.52, 572898.27, 20125.14),
    "wizard_of_wor": (4203.0, 9157.5, 2106.0),
    "yars_revenge": (80530.13, 84231.14, 14739.41),
    "zaxxon": (1148.5, 32935.5, 6497.0),
}


def test_there_are_57_games():
    assert len(ATARI_57) == 57
    assert ATARI_57.keys() == PAPER.keys()


@pytest.mark.parametrize("game", ATARI_57)
def test_every_game_makes_an_environment_under_its_name(game):
    environment = EnvironmentFactory(f"atari:{game}")(seed=0)
    assert isinstance(environment, AtariEnvironment)
    assert 3 <= environment.action_spec().num_values <= 18
    environment.observation_spec().validate(environment.reset().observation)
    environment.close()


@pytest.mark.parametrize("game", ATARI_57)
def test_humans_are_better_than_chance(game):
    assert ATARI_57[game].human > ATARI_57[game].random
    assert human_normalized_score(f"atari:{game}", ATARI_57[game].random) == 0.0
    assert human_normalized_score(f"atari:{game}", ATARI_57[game].human) == pytest.approx(100.0)


def test_the_score_is_linear_between_random_and_human():
    assert human_normalized_score("atari:pong", 14.6 + 35.3) == pytest.approx(200.0)
    assert human_normalized_score("atari:pong", (14.6 - 20.7) / 2) == pytest.approx(50.0)
    assert human_normalized_score("atari:pong", -21.0) < 0.0


@pytest.mark.parametrize("task", ["atari:SpaceInvaders", "atari:space_invaders"])
def test_a_game_is_known_by_every_name_that_makes_it(task):
    assert human_normalized_score(task, 1668.7) == pytest.approx(100.0)


@pytest.mark.parametrize("task", ["catch", "gym:CartPole-v1", "atari:tetris", "pong"])
def test_where_no_human_score_is_known_there_is_none(task):
    assert human_normalized_score(task, 1.0) is None


@pytest.mark.parametrize(
    ("column", "median", "mean"), [(0, 93.2, 466.4), (1, 191.8, 957.6), (2, 59.7, 176.9)]
)
def test_the_papers_scores_give_the_papers_figures(column, median, mean):
    """The means differ a little: the reference scores are printed with one decimal."""
    scores = [human_normalized_score(f"atari:{game}", PAPER[game][column]) for game in PAPER]
    suite = suite_scores(scores)
    assert suite.median == pytest.approx(median, abs=0.05)
    assert suite.mean == pytest.approx(mean, abs=0.4)
    assert suite.mean_capped == pytest.approx(statistics.mean(min(s, 100.0) for s in scores))


def test_a_suite_is_capped_task_by_task():
    assert suite_scores([0.0, 50.0, 1000.0]) == (350.0, 50.0, 50.0)
    assert suite_scores([-10.0]) == (-10.0, -10.0, -10.0)


def test_a_suite_without_tasks_is_refused():
    with pytest.raises(ValueError, match="at least one task, got none"):
        suite_scores([])
