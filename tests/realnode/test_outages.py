"""The signer is away while its sole validator waits: the chain stands still meanwhile and goes on afterwards.

A node repeats a request about fifty times, each time waiting for a connection, and never asks again after an error; a
chain of one validator that once gave up stands still for good. All four chains wait side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.realnode.chain import Chain

pytestmark = [pytest.mark.realnode, pytest.mark.slow]

# Seconds. A node accepts a new signer within 3 s and notices a dead one within 5 s.
_BACK = 30.0


@pytest.mark.parametrize("outage", [60, pytest.param(200, marks=pytest.mark.timeout(400))])
@pytest.mark.timeout(240)
def test_chains_go_on_after_their_signers_were_away(
    chains: dict[str, Chain], outage: int, figure: Callable[[str], None]
) -> None:
    for chain in chains.values():
        chain.start(height=10)
    for chain in chains.values():
        chain.signer.kill_9()
    heights = {name: chain.node.height() for name, chain in chains.items()}
    time.sleep(outage)
    # One block may have been signed, and not yet made, when the signer was killed.
    moved = {name: chain.node.height() for name, chain in chains.items() if chain.node.height() > heights[name] + 1}
    assert not moved, "somebody signed while the signer was away"
    for name, chain in chains.items():
        chain.signer.start()
        back = chain.node.wait_for_height(heights[name] + 3, _BACK)
        chain.grow(10)
        figure(f"{name}: {chain.check()}; blocks {back:.2f} s after the signer's start")


@pytest.mark.parametrize("pause", [4, 8])
def test_chains_go_on_after_their_signers_were_frozen(
    chains: dict[str, Chain], pause: int, figure: Callable[[str], None]
) -> None:
    # 4 s: the answer comes late, on a connection that still stands. 8 s: the node has hung up (5 s) and asks again.
    for chain in chains.values():
        chain.start(height=10)
    for chain in chains.values():
        chain.signer.pause()
    heights = {name: chain.node.height() for name, chain in chains.items()}
    time.sleep(pause)
    resumed = time.monotonic()
    for chain in chains.values():
        chain.signer.resume()
    for name, chain in chains.items():
        chain.node.wait_for_height(heights[name] + 3, _BACK)
        figure(f"{name}: blocks at most {time.monotonic() - resumed:.2f} s after the signer went on")
    for chain in chains.values():
        chain.grow(10)
        chain.check()
