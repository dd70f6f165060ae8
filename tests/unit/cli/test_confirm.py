"""The chain id is typed again, or given again, before what cannot be taken back; nothing else will do."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner, Result

from cmkms.cli.confirm import confirm_chain
from cmkms.errors import OperatorError

CHAIN = "testnet-1"


def typed(line: str) -> Result:
    """What a command comes to that asks, where this is typed."""
    app = typer.Typer()

    @app.command()
    def ask() -> None:
        confirm_chain(CHAIN, None, "lose its guard")
        typer.echo("went on")

    return CliRunner().invoke(app, [], input=line)


def test_the_id_typed_goes_on() -> None:
    ran = typed(f"{CHAIN}\n")
    assert (ran.exit_code, ran.stdout.endswith("went on\n")) == (0, True)


def test_it_asks_on_standard_error_what_the_id_is_typed_for() -> None:
    assert "Type the chain id to lose its guard" in typed(f"{CHAIN}\n").stderr


def test_the_id_given_asks_for_nothing() -> None:
    confirm_chain(CHAIN, CHAIN, "lose its guard")


@pytest.mark.parametrize("answer", ["yes", "y", "testnet-10", "TESTNET-1"])
def test_anything_else_typed_changes_nothing(answer: str) -> None:
    ran = typed(f"{answer}\n")
    assert isinstance(ran.exception, OperatorError)
    assert str(ran.exception) == f"what was typed, {answer!r}, is not the chain id, {CHAIN!r}; nothing was changed"


@pytest.mark.parametrize("given", ["", "yes", "testnet-1 "])
def test_anything_else_given_changes_nothing(given: str) -> None:
    with pytest.raises(OperatorError, match="nothing was changed"):
        confirm_chain(CHAIN, given, "lose its guard")


def test_nobody_there_to_type_it_is_no_yes() -> None:
    ran = typed("")
    assert (ran.exit_code, "went on" in ran.stdout) == (1, False)
