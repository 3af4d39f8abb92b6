"""Commands that can be typed as they are printed."""

import os
import sys


def python() -> str:
    """The Python that runs this, by its way from here where it is below."""
    from_here = os.path.relpath(sys.executable)
    return sys.executable if from_here.startswith(os.pardir) else from_here
