"""Ctrl-C and SIGTERM during a search: the round in progress ends first."""

import signal
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Notes the first interrupt while in context; the second raises KeyboardInterrupt at once.

    An exception raised between two arbitrary instructions can be lost, e.g. in a callback of the garbage collector,
    and leaves trials of one round at different epochs.

    Attributes:
        is_requested: whether the search is to stop
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is signal.default_int_handler:
                try:
                    self._before[number] = signal.signal(number, self._receive)
                except ValueError:  # only the main thread may
                    return self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True
