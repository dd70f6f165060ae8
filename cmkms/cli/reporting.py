"""How errors reach the operator: one clear line, then what to do about it; never a traceback for what was foreseen."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

from typing import Any, Final

import typer
from typer.core import TyperGroup

from cmkms.errors import BrokenInvariantError, CmkmsError, OperatorError

__all__ = ["EXIT_FAILED", "EXIT_OPERATOR", "ReportingGroup", "printable"]

EXIT_OPERATOR: Final = 2
"""The operator must act: starting again will not help (a systemd unit says so: RestartPreventExitStatus)."""

EXIT_FAILED: Final = 1


class ReportingGroup(TyperGroup):
    """The root of the commands: turns errors of ours into lines on standard error and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. A broken invariant is a bug, and keeps its traceback."""
        try:
            return super().invoke(ctx)
        except BrokenInvariantError:
            raise
        except OperatorError as error:
            _report(str(error))
            raise typer.Exit(EXIT_OPERATOR) from None
        except CmkmsError as error:
            _report(str(error))
            raise typer.Exit(EXIT_FAILED) from None


def _report(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    first, *rest = printable(message).splitlines() or ["failed without a reason"]
    console = Console(stderr=True, highlight=False)
    console.print(Text(f"cmkms: {first}", style="bold red"), soft_wrap=True)
    for line in rest:
        console.print(Text(line), soft_wrap=True)


def printable(text: str) -> str:
    """Show what could drive a terminal as an escape: names in a file or from a node may hold anything."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
