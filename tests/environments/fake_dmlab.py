"""Where the fake of DeepMind Lab is, and what it shows."""

import pathlib

PATH = pathlib.Path(__file__).parent / "fake_lab"


def seed_and_frame(picture):
    """What the fake writes into the first pixels of a picture [height, width, 3]."""
    seed, frame = picture[0, :4].reshape(-1)[:8].view("<u4")
    return int(seed), int(frame)
