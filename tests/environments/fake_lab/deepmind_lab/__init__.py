"""A FAKE of DeepMind Lab's module, which is on no registry. It has no levels, only their manners.

What the real one was seen to do is done here: dtypes, states in which calls fail, errors and their
words, and deaths of the whole process. Where the real one reads memory that is not its own, this
one ends by SIGSEGV.

An episode's length in frames is by level (`LENGTHS`). Each frame pays the strafe (1 to the right),
and a picture's first pixels hold the episode's seed and the frame, so that a test can tell what it
is shown.
"""

import os
import signal

import numpy as np

LENGTHS = {
    "seekavoid_arena_01": 1200,
    # Levels that there are not: made for tests.
    "tests/short": 42,  # 10 agent steps of 4 frames, and one of 2.
    "tests/aborts": 400,  # At frame 100.
    "tests/aborts_at_reset": 400,
    "tests/raises": 400,  # From its script, at frame 100; and it could go on.
    "tests/cached": 400,  # Makes a map at each reset, and uses the cache.
    "tests/talks": 400,
}
# As the real one's files are named; where a length was not seen it is two minutes.
_DMLAB_30 = """
explore_goal_locations_large explore_goal_locations_small explore_object_locations_large
explore_object_locations_small explore_object_rewards_few explore_object_rewards_many
explore_obstructed_goals_large explore_obstructed_goals_small language_answer_quantitative_question
language_execute_random_task language_select_described_object language_select_located_object
lasertag_one_opponent_large lasertag_one_opponent_small lasertag_three_opponents_large
lasertag_three_opponents_small natlab_fixed_large_map natlab_varying_map_randomized
natlab_varying_map_regrowth psychlab_arbitrary_visuomotor_mapping psychlab_continuous_recognition
psychlab_sequential_comparison psychlab_visual_search rooms_collect_good_objects_test
rooms_collect_good_objects_train rooms_exploit_deferred_effects_test
rooms_exploit_deferred_effects_train rooms_keys_doors_puzzle rooms_select_nonmatching_object
rooms_watermaze skymaze_irreversible_path_hard skymaze_irreversible_path_varied
""".split()  # noqa: SIM905
_SEEN = {
    "rooms_watermaze": 7200,
    "explore_goal_locations_small": 5400,
    "language_select_described_object": 3600,
    "psychlab_continuous_recognition": 10800,
}
LENGTHS |= {f"contributed/dmlab30/{level}": _SEEN.get(level, 7200) for level in _DMLAB_30}
_CONFIG = ("width", "height", "datasetPath", "allowHoldOutLevels")
_OBSERVATIONS = ("RGB_INTERLEAVED", "INSTR")
_ACTIONS = (
    ("LOOK_LEFT_RIGHT_PIXELS_PER_FRAME", -512, 512),
    ("LOOK_DOWN_UP_PIXELS_PER_FRAME", -512, 512),
    ("STRAFE_LEFT_RIGHT", -1, 1),
    ("MOVE_BACK_FORWARD", -1, 1),
    ("FIRE", 0, 1),
    ("JUMP", 0, 1),
    ("CROUCH", 0, 1),
)


class Lab:
    def __init__(self, level, observations, config={}, renderer="software", level_cache=False):  # noqa: B006
        if config is None or renderer is None or level_cache is None:
            raise TypeError("an argument must not be None: leave it out")
        if not all(isinstance(x, str) for item in config.items() for x in item):
            raise TypeError("config must be a dict of strings to strings")
        if renderer not in ("software", "hardware"):
            raise ValueError(f"Invalid renderer {renderer!r}.")
        for name in observations:
            if name not in _OBSERVATIONS:
                raise ValueError(f"Unknown observation '{name}'.")
        for key in config:
            if key not in _CONFIG:
                raise RuntimeError(f"Failed to init environment - \"Invalid setting '{key}'\"")
        if level not in LENGTHS:
            raise RuntimeError(f'Failed to init environment - "Level not found: {level}"')
        if level.endswith("_test") and config.get("allowHoldOutLevels") != "true":
            raise RuntimeError('Failed to init environment - "Hold out levels are not allowed"')
        self._width, self._height = (
            int(config.get(name, default)) for name, default in (("width", 320), ("height", 240))
        )
        if self._width % 4 or self._height % 4:
            raise RuntimeError('Failed to init environment - "width and height: multiples of 4"')
        print(f"Playing {level}", flush=True)
        self._level, self._observations, self._config = level, observations, config
        self._cache = level_cache
        self._running = self._closed = False
        self._frame = self._num_steps = 0

    def observation_spec(self):
        self._end_if_closed()
        shapes = {"RGB_INTERLEAVED": ((self._height, self._width, 3), np.uint8), "INSTR": ((), str)}
        return [
            {"name": name, "shape": shapes[name][0], "dtype": shapes[name][1]}
            for name in self._observations
        ]

    def action_spec(self):
        self._end_if_closed()
        return [{"name": name, "min": low, "max": high} for name, low, high in _ACTIONS]

    def reset(self, episode=-1, seed=None):
        self._end_if_closed()
        if seed is None:
            raise AssertionError(
                "Processes that are started together would play the same episodes."
            )
        if type(seed) is not int:
            raise ValueError("'seed' must be an int")
        if "psychlab" in self._level and not self._config.get("datasetPath"):
            raise RuntimeError("Failed to reset environment - datasets.brady_konkle_oliva2008")
        if self._level == "tests/aborts_at_reset":
            os.abort()
        self._seed = seed % 2**32
        if self._level == "tests/cached":
            self._make_map()
        if self._level == "tests/talks":
            print(f"Episode of seed {self._seed}", flush=True)
        self._frame = self._num_steps = 0
        self._running = True
        return True

    def step(self, action, num_steps=1):
        if not isinstance(action, np.ndarray):
            raise TypeError("action must be a numpy array")
        if action.dtype != np.intc:
            raise ValueError("action must have dtype np.intc")
        if action.shape != (7,):
            raise ValueError("action must have shape (7,)")
        if not self._running:
            raise RuntimeError("Environment in wrong status to advance.")
        if not action.flags.c_contiguous:
            raise AssertionError("A view with strides is misread.")
        self._num_steps += num_steps
        frames = min(num_steps, LENGTHS[self._level] - self._frame)
        self._frame += frames
        if self._level == "tests/aborts" and self._frame >= 100:
            print("terminate called after throwing an instance of 'lua_error'", flush=True)
            os.abort()
        if self._level == "tests/raises" and self._frame == 100:
            raise RuntimeError("[step] - attempt to index a nil value")
        if self._frame == LENGTHS[self._level]:
            self._running = False
        return float(action[2]) * frames

    def observations(self):
        if not self._running:
            raise RuntimeError("Environment in wrong status for call to observations()")
        picture = np.full((self._height, self._width, 3), self._frame % 251, np.uint8)
        numbers = np.array([self._seed, self._frame], "<u4").view(np.uint8)
        picture[0, :4] = 0
        picture[0, :4].reshape(-1)[: len(numbers)] = numbers
        found = {"RGB_INTERLEAVED": picture, "INSTR": self._instruction()}
        return {name: found[name] for name in self._observations}

    def is_running(self):
        return self._running

    def num_steps(self):
        return self._num_steps

    def close(self):
        if self._closed:
            return False
        self._closed, self._running = True, False
        return True

    def _instruction(self):
        if "language" not in self._level:
            return ""
        return "Pick the red cat" if self._frame < 40 else "Pick the blue ball"

    def _make_map(self):
        key, path = f"map/{self._seed % 3}", f"map_{os.getpid()}.pk3"
        if self._cache and self._cache.fetch(key, path):
            with open(path, "rb") as file:
                if file.read(2) != b"PK":
                    os._exit(1)
        else:
            import zipfile

            with zipfile.ZipFile(path, "w") as file:
                file.writestr("map", key)
            if self._cache:
                self._cache.write(key, path)
        os.remove(path)

    def _end_if_closed(self):
        if self._closed:
            os.kill(os.getpid(), signal.SIGSEGV)
