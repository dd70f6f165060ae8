"""`python -m cmkms`: the command line, where its script is not installed."""

from __future__ import annotations

from cmkms.cli import main

if __name__ == "__main__":
    main()
