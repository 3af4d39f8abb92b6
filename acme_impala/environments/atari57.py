"""The 57 games of Atari-57, and what a random policy and a human score in them."""

from typing import NamedTuple


class ReferenceScores(NamedTuple):
    """Mean scores of whole games with 1 to 30 no-ops at the start, cut off after 30 minutes."""

    random: float
    human: float


# By the name that `AtariEnvironment` takes. The numbers are those of Wang et al. 2016 ("Dueling
# Network Architectures", appendix, no-op starts), which DQN Zoo has too, but for one: there a
# random policy scores 16256.9 in Video Pinball, nearly as much as a human, and that game would be
# two fifths of the mean over the IMPALA paper's deep experts. With 0, which Reincarnating RL's
# table has, the IMPALA paper's scores of each game give its medians exactly and its means (466.4 %
# and 957.6 %) within 0.4 points, so this is what the paper must have used.
ATARI_57 = {
    "alien": ReferenceScores(random=227.8, human=7127.7),
    "amidar": ReferenceScores(random=5.8, human=1719.5),
    "assault": ReferenceScores(random=222.4, human=742.0),
    "asterix": ReferenceScores(random=210.0, human=8503.3),
    "asteroids": ReferenceScores(random=719.1, human=47388.7),
    "atlantis": ReferenceScores(random=12850.0, human=29028.1),
    "bank_heist": ReferenceScores(random=14.2, human=753.1),
    "battle_zone": ReferenceScores(random=2360.0, human=37187.5),
    "beam_rider": ReferenceScores(random=363.9, human=16926.5),
    "berzerk": ReferenceScores(random=123.7, human=2630.4),
    "bowling": ReferenceScores(random=23.1, human=160.7),
    "boxing": ReferenceScores(random=0.1, human=12.1),
    "breakout": ReferenceScores(random=1.7, human=30.5),
    "centipede": ReferenceScores(random=2090.9, human=12017.0),
    "chopper_command": ReferenceScores(random=811.0, human=7387.8),
    "crazy_climber": ReferenceScores(random=10780.5, human=35829.4),
    "defender": ReferenceScores(random=2874.5, human=18688.9),
    "demon_attack": ReferenceScores(random=152.1, human=1971.0),
    "double_dunk": ReferenceScores(random=-18.6, human=-16.4),
    "enduro": ReferenceScores(random=0.0, human=860.5),
    "fishing_derby": ReferenceScores(random=-91.7, human=-38.7),
    "freeway": ReferenceScores(random=0.0, human=29.6),
    "frostbite": ReferenceScores(random=65.2, human=4334.7),
    "gopher": ReferenceScores(random=257.6, human=2412.5),
    "gravitar": ReferenceScores(random=173.0, human=3351.4),
    "hero": ReferenceScores(random=1027.0, human=30826.4),
    "ice_hockey": ReferenceScores(random=-11.2, human=0.9),
    "jamesbond": ReferenceScores(random=29.0, human=302.8),
    "kangaroo": ReferenceScores(random=52.0, human=3035.0),
    "krull": ReferenceScores(random=1598.0, human=2665.5),
    "kung_fu_master": ReferenceScores(random=258.5, human=22736.3),
    "montezuma_revenge": ReferenceScores(random=0.0, human=4753.3),
    "ms_pacman": ReferenceScores(random=307.3, human=6951.6),
    "name_this_game": ReferenceScores(random=2292.3, human=8049.0),
    "phoenix": ReferenceScores(random=761.4, human=7242.6),
    "pitfall": ReferenceScores(random=-229.4, human=6463.7),
    "pong": ReferenceScores(random=-20.7, human=14.6),
    "private_eye": ReferenceScores(random=24.9, human=69571.3),
    "qbert": ReferenceScores(random=163.9, human=13455.0),
    "riverraid": ReferenceScores(random=1338.5, human=17118.0),
    "road_runner": ReferenceScores(random=11.5, human=7845.0),
    "robotank": ReferenceScores(random=2.2, human=11.9),
    "seaquest": ReferenceScores(random=68.4, human=42054.7),
    "skiing": ReferenceScores(random=-17098.1, human=-4336.9),
    "solaris": ReferenceScores(random=1236.3, human=12326.7),
    "space_invaders": ReferenceScores(random=148.0, human=1668.7),
    "star_gunner": ReferenceScores(random=664.0, human=10250.0),
    "surround": ReferenceScores(random=-10.0, human=6.5),
    "tennis": ReferenceScores(random=-23.8, human=-8.3),
    "time_pilot": ReferenceScores(random=3568.0, human=5229.2),
    "tutankham": ReferenceScores(random=11.4, human=167.6),
    "up_n_down": ReferenceScores(random=533.4, human=11693.2),
    "venture": ReferenceScores(random=0.0, human=1187.5),
    "video_pinball": ReferenceScores(random=0.0, human=17667.9),
    "wizard_of_wor": ReferenceScores(random=563.5, human=4756.5),
    "yars_revenge": ReferenceScores(random=3092.9, human=54576.9),
    "zaxxon": ReferenceScores(random=32.5, human=9173.3),
}
