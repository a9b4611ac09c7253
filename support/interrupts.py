"""An interrupt (Ctrl-C, SIGTERM) lets the running epoch finish; a second one ends the process at once.

Outside the main thread Python lets nobody handle signals: there they stay the caller's affair.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Yield a list that gets the number of the first signal, SIGINT or SIGTERM."""
    caught = []

    def remember(signum, frame):
        caught.append(signum)
        for each in former:
            signal.signal(each, signal.SIG_DFL)
        with contextlib.suppress(OSError, AttributeError):  # print may be at work, and is not re-entrant
            os.write(sys.stdout.fileno(),
                     b"\ninterrupted: finishing this epoch and saving it (again to leave at once)\n")

    # a signal that the caller ignores, as `&` in a script has it ignored, stays so
    is_main = threading.current_thread() is threading.main_thread()
    former = {each: signal.signal(each, remember) for each in (signal.SIGINT, signal.SIGTERM)
              if is_main and signal.getsignal(each) != signal.SIG_IGN}
    try:
        yield caught
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
