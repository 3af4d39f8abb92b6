"""Videos of episodes, by the libraries that are here anyway: OpenCV for MP4, Pillow for GIF."""

import os
import pathlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import tqdm
from PIL import Image

_HEIGHT = 400  # Pixels that a video has at least.
# VP9 plays in browsers; of the encoders that OpenCV's packages bring it is the only one for MP4
# that does.
_CODEC = "vp09"
_GIF_PERIOD = 20  # Milliseconds, the shortest that viewers keep to.


def write(path: str | os.PathLike, screens: Iterable[np.ndarray], screens_per_second: float):
    """Writes a video, a frame for each screen, enlarged by a whole number where it is small.

    A hundredth of a second a screen, for an MP4; so a bar shows how far it is.

    An MP4 is the choice for long episodes. A GIF has the very colours where there are up to 256 in
    a screen; it shows at most 50 screens a second, so that an Atari game takes a fifth longer in
    it, keeps a screen that does not change as one frame of longer duration, and is made in memory.

    Args:
        path: its suffix, .mp4 or .gif, says of what kind.
        screens: at least one, [height, width, 3] uint8, RGB.
        screens_per_second: at which the video plays.

    Raises:
        ValueError: the path is of no such kind, or in no directory, before a screen is asked for.
        OSError: the file cannot be written.
    """
    path = pathlib.Path(path).absolute()
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"A video's name must end in .mp4 or .gif, got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(
            f"{path.parent} is no directory to write {path.name!r} into: make it first."
        )
    shown = tqdm.tqdm(screens, desc=f"Video {path.name}", unit=" screens", unit_scale=True)
    frames = map(_enlarged, shown)
    if path.suffix == ".mp4":
        _write_mp4(path, frames, screens_per_second)
    else:
        _write_gif(path, frames, screens_per_second)


def _write_mp4(path: pathlib.Path, frames: Iterator[np.ndarray], frames_per_second: float):
    frame = next(frames)
    height, width, _ = frame.shape
    codec = cv2.VideoWriter_fourcc(*_CODEC)
    writer = cv2.VideoWriter(str(path), codec, frames_per_second, (width, height))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {str(path)!r}; a GIF does not need its encoders.")
    while frame is not None:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        frame = next(frames, None)
    writer.release()


def _write_gif(path: pathlib.Path, frames: Iterator[np.ndarray], frames_per_second: float):
    images = map(Image.fromarray, frames)
    next(images).save(
        path,
        save_all=True,
        append_images=images,
        duration=max(_GIF_PERIOD, round(1000 / frames_per_second)),
        loop=0,  # For ever.
    )


def _enlarged(screen: np.ndarray) -> np.ndarray:
    # Also because MP4 has one colour for two by two pixels: enlarged, they are all the same.
    factor = -(-_HEIGHT // screen.shape[0])
    return screen.repeat(factor, axis=0).repeat(factor, axis=1)
