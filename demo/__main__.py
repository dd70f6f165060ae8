"""`python -m demo`: an interrupt ends it in good order from the first import on."""

from __future__ import annotations

import signal
import sys

_EXIT_INTERRUPTED = 130

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        from demo.command import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
