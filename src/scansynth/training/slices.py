"""A slice of a long run: it ends by itself at a signal or when its time is up, and the next one goes on from there."""

import math
import os
import signal
import threading
import time
from types import FrameType

from scansynth.errors import ScansynthError

MINUTES = "SCANSYNTH_SLICE_MINUTES"  # the environment variable: minutes, as a decimal number
STATUS = 75  # of the process at the end of a slice that is not the last: EX_TEMPFAIL of sysexits.h, try again


class Slice:
    """Inside the block SIGTERM and SIGINT are kept until they are asked after; a second one acts as ever.

    Raises:
        ScansynthError: if the environment's time budget is not a positive number.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.previous: dict[int, signal.Handlers] = {}
        minutes = os.environ.get(MINUTES, "inf")
        try:
            self.deadline = time.monotonic() + 60 * float(minutes)
        except ValueError:
            self.deadline = math.nan
        if not self.deadline > time.monotonic():
            raise ScansynthError(f"{MINUTES} is {minutes!r}: expected a number of minutes above 0, such as 55")

    def __enter__(self) -> "Slice":
        if threading.current_thread() is threading.main_thread():  # signals can be caught nowhere else
            self.previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        signal.signal(number, self.previous[number])

    def over(self) -> str:
        """Why the slice is over; empty while it is not."""
        if time.monotonic() >= self.deadline:
            self.reason = f"{MINUTES}={os.environ[MINUTES]}"
        return self.reason
