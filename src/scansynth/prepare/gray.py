"""What a decoder gives: one grayscale image, or a reason why there is none."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gray:
    """A decoded image: brighter is larger, as a viewer shows it.

    ``values`` is float32 of shape (height, width). ``span`` holds the values that are shown black and white where the
    file says so (its window, its bit depth), and is None where that has to be estimated from the values.
    """

    values: np.ndarray
    span: tuple[float, float] | None


class RejectedError(Exception):
    """Why a file gives no image, in plain words.

    Never a decoder's own message: that may quote the header, where a patient's name is.
    """
