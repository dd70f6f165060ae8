"""A sole validator's chain under cmkms: blocks, crashes of the signer, restarts and crashes of the node.

Every test ends with the same verdict: each commit verified from RPC, no evidence, the guard on disk not behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from tests.realnode.chain import Chain
from tests.realnode.node import Node

pytestmark = pytest.mark.realnode

# Seconds. After a crash of its signer a node may notice only at its next ping (3.3 s); the rest is the signer's start.
_AFTER_A_CRASH = 20.0


def test_a_hundred_blocks_are_signed_and_every_commit_verifies(chain: Chain, figure: Callable[[str], None]) -> None:
    chain.start()
    pause = chain.grow(100)
    figure(f"{chain.check()}; longest pause {pause:.2f} s")


@pytest.mark.timeout(300)
def test_a_signer_killed_every_ten_blocks_and_started_again_carries_the_chain_on(
    chain: Chain, figure: Callable[[str], None]
) -> None:
    chain.start()
    pauses: list[float] = []
    for _ in range(10):
        chain.grow(10)
        chain.signer.kill_9()
        chain.signer.start()
        pauses.append(chain.grow(2, _AFTER_A_CRASH))
    figure(f"{chain.check()}; kill -9 to the next block: median {median(pauses):.2f} s, most {max(pauses):.2f} s")


@pytest.mark.parametrize("end", [Node.stop, Node.kill_9], ids=["stopped", "killed"])
def test_a_restarted_node_finds_its_signer_again(
    chain: Chain, end: Callable[[Node], None], figure: Callable[[str], None]
) -> None:
    chain.start(height=20)
    end(chain.node)
    chain.node.start()
    # Its height is known again only once it has its signer: before that it does not answer.
    first_block = chain.node.wait_for_height(21, _AFTER_A_CRASH)
    chain.grow(20)
    figure(f"{chain.check()}; block 21 or later {first_block:.2f} s after the node's start")
