"""`python -m demo`: Ctrl-C ends it in good order from the first import on."""

from __future__ import annotations

import sys

_EXIT_INTERRUPTED = 130

if __name__ == "__main__":
    try:
        from demo.command import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
