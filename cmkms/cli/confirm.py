"""The chain id, typed again by whoever asks for what cannot be taken back. Must never take anything else for a yes."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import typer

__all__ = ["confirm_chain"]


def confirm_chain(chain: str, confirmed: str | None, what: str) -> None:
    """Return only where the chain's id stands on the command line a second time, or is typed now.

    `what` goes on after "Type the chain id to". Raises OperatorError for anything but the id.
    """
    from cmkms.errors import OperatorError

    typed = confirmed if confirmed is not None else typer.prompt(f"Type the chain id to {what}", err=True)
    if typed != chain:
        raise OperatorError(f"what was typed, {typed!r}, is not the chain id, {chain!r}; nothing was changed")
