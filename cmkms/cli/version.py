"""`cmkms version`."""

from __future__ import annotations

import platform

import typer

from cmkms import __version__

__all__ = ["version"]


def version() -> None:
    """Print the version."""
    typer.echo(f"cmkms {__version__} (Python {platform.python_version()})")
