"""`cmkms init`: a home for one replica.

Must never overwrite anything, and never make a consensus key: whose key it is, is not for a set-up command to decide.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import typer

from cmkms.cli.options import takes_settings

if TYPE_CHECKING:
    from cmkms.config import Flags
    from cmkms.home import Home

__all__ = ["init"]


@takes_settings(without=("peer",))
def init(flags: Flags) -> None:
    """Make a home: configuration, folders, and the identity for connections. Never overwrites, makes no key.

    What is given is written into config.toml. A home that has a config.toml is left as it is; whatever else is there
    already, such as a key, is kept.
    """
    from cmkms.config import check_flags, find_home

    place, _ = find_home(flags, os.environ)
    _refuse_initialised(place)
    check_flags(flags)
    node_id = _make(place, flags)
    _tell(place, flags, node_id)


def _refuse_initialised(home: Home) -> None:
    from cmkms.errors import OperatorError

    if not os.path.lexists(home.config_file):
        return
    inside = ", ".join(sorted(entry.name for entry in home.path.iterdir()))
    message = f"{home.path}: is a home already (it holds {inside}), and nothing in it was touched"
    raise OperatorError(f"{message}; edit {home.config_file}, or choose another --home")


def _make(home: Home, flags: Flags) -> str:
    """Make what is missing; the configuration last, so that an interrupted run can be repeated. Returns the node id."""
    from cmkms.config import render_sample
    from cmkms.errors import DiskError, OperatorError
    from cmkms.home import create_durably, make_private_dir
    from cmkms.keys import create_identity, load_identity

    try:
        home.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{home.path.parent}: could not be made: {error.strerror}") from error
    for directory in (home.path, home.data_dir, home.priv_dir):
        make_private_dir(directory)
    if os.path.lexists(home.identity_file):
        identity = load_identity(home.identity_file)
    else:
        identity = create_identity(home.identity_file)
    try:
        create_durably(home.config_file, render_sample(flags).encode())
    except FileExistsError:
        raise OperatorError(
            f"{home.config_file}: appeared while the home was being made; nothing overwritten"
        ) from None
    return identity.node_id


def _tell(home: Home, flags: Flags, node_id: str) -> None:
    where = f"--home {shlex.quote(str(home.path))}"
    chain = shlex.quote(flags.chain_id) if flags.chain_id else "CHAIN"
    steps = [
        f"""\
The key. Copy the node's priv_validator_key.json to {home.default_key_file} (mode 0600).
For a new validator: cmkms key generate {where}""",
        f"""\
What the key has signed. Stop the old signer, prove that it stopped, take its key away; then copy its
priv_validator_state.json to {home.default_state_file}.
A key that has never signed has none: then start, once, with --never-signed {chain}""",
        f"cmkms start {where}",
    ]
    missing = [
        key for key, given in (("chain_id", flags.chain_id), ("validator_addr", flags.validator_addr)) if not given
    ]
    if missing:
        steps.insert(2, f"Write {' and '.join(missing)} into {home.config_file}, then: cmkms config check {where}")
    typer.echo(f"Made the home of a replica that is the only signer: {home.path}")
    typer.echo("  config.toml  every setting, explained")
    typer.echo("  data/        for the guard, which remembers what was signed: never copy it, never restore it")
    typer.echo(f"  priv/        for keys; the identity for connections is made, its node id is {node_id}")
    typer.echo("\nNext:")
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. " + step.replace("\n", "\n     "))
