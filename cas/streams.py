"""The numbers of the standard streams, which no file of a store may get.

A daemon may have closed its standard input, output and error stream. The next file that is opened
gets the number that became free, and a warning that some library prints lands in that file: a line
written to descriptor 2 was seen to replace the number of the current generation.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["occupy_standard_streams"]

_STREAMS: Final = 3


def occupy_standard_streams() -> None:
    """Open ``/dev/null`` under the numbers 0 to 2 that are free: before opening a file to keep.

    Raises:
        OSError: The system lets this process open no more files.
    """
    for number in range(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor >= _STREAMS:
                os.close(descriptor)  # another thread was quicker, and its file has the number
            else:
                os.set_inheritable(descriptor, True)  # as a standard stream is
