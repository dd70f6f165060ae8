"""Who starts first, node or signer. A node asks for the public key once, waits three seconds, and ends by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.realnode.chain import Chain

pytestmark = pytest.mark.realnode

# Seconds in which a signer without a node dials in vain: several times, so that any growing pause would show.
_ALONE = 5.0

# Seconds that a node waits for its signer (privval/signer_listener_endpoint.go: the accept time-out), and start-up.
_FIRST_BLOCK = 8.0


def test_a_signer_that_waits_for_its_node_is_there_when_it_comes(chain: Chain, figure: Callable[[str], None]) -> None:
    chain.signer.start()
    time.sleep(_ALONE)
    chain.node.start()
    first_block = chain.node.wait_for_height(1, _FIRST_BLOCK)
    chain.grow(10)
    figure(f"{chain.check()}; first block {first_block:.2f} s after the node's start")


def test_a_signer_started_after_its_node_is_in_time(chain: Chain, figure: Callable[[str], None]) -> None:
    chain.node.start()
    chain.node.wait_until_it_listens_for_a_signer()
    chain.signer.start()
    first_block = chain.node.wait_for_height(1, _FIRST_BLOCK)
    chain.grow(10)
    figure(f"{chain.check()}; first block {first_block:.2f} s after the signer's start")
