"""The command line: one module for each group of commands, and nothing that decides.

Modules import what they need inside their commands, so that `cmkms --help` does not wait for a signer to load. Must
never print a private key, nor let an error of ours reach the terminal as a traceback.
"""

from __future__ import annotations

from cmkms.cli.app import app, main

__all__ = ["app", "main"]
