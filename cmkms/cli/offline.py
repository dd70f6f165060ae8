"""What the commands for a stopped signer share: the configured chains, with their keys and guards."""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmkms.chains import LoadedChain

__all__ = ["load_chains", "load_one_chain"]


def load_chains(home: str | None, chain_id: str | None) -> tuple[LoadedChain, ...]:
    """Load the chain of that id, or all, with their keys: from here on this process is closed to debuggers.

    Raises OperatorError.
    """
    from cmkms.chains import load_chain
    from cmkms.config import Flags, load_config
    from cmkms.errors import OperatorError
    from cmkms.hardening import harden_process

    harden_process()
    config = load_config(Flags(home=home), os.environ)
    chosen = [chain for chain in config.chains if chain_id in {None, chain.id}]
    if not chosen:
        known = ", ".join(chain.id for chain in config.chains)
        raise OperatorError(f"no chain {chain_id!r} in the configuration; it has {known}")
    return tuple(load_chain(config, chain) for chain in chosen)


def load_one_chain(home: str | None, chain_id: str | None) -> LoadedChain:
    """Load the chain of that id; none is needed where only one is configured. Raises OperatorError."""
    from cmkms.errors import OperatorError

    chain, *more = load_chains(home, chain_id)
    if more:
        known = ", ".join(one.config.id for one in (chain, *more))
        raise OperatorError(f"say which chain: the configuration has {known}")
    return chain
