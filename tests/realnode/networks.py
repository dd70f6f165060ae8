"""Several real nodes of one chain: four validators of which one signs through cmkms, or two nodes of one validator.

Who signs what is settled by the genesis; each node dials all others on loopback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.realnode.binaries import Program
from tests.realnode.clusters import ClusterSigner
from tests.realnode.commits import Committed
from tests.realnode.node import Node, Transport
from tests.realnode.signers import Watermark

__all__ = ["MakeNetwork", "Network", "one_of_four", "two_of_one"]

# Seconds for blocks to come while nothing is broken.
_BLOCKS_SECONDS = 90.0

# With others to wait for, a round must outlast a proposal's way through them, on two cores shared by all.
_PATIENT = {
    "timeout_propose": "1s",
    "timeout_prevote": "500ms",
    "timeout_precommit": "500ms",
    # How long a block waits for the precommits of validators beyond the first two thirds.
    "timeout_commit": "200ms",
}


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes of one chain; the first is the one that is asked for the chain's state."""

    nodes: tuple[Node, ...]
    signer: ClusterSigner

    def start(self) -> None:
        """Start the signer, then every node, and wait until each has a block."""
        self.signer.start()
        self.signer.wait_until_ready()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_for_height(1, _BLOCKS_SECONDS)

    def grow(self, blocks: int, seconds: float = _BLOCKS_SECONDS) -> float:
        """Wait for so many more blocks at every node; the longest pause without one at the first, in seconds."""
        first, *others = self.nodes
        height = first.height() + blocks
        pause = first.longest_pause_until(height, seconds)
        for node in others:
            node.wait_for_height(height, seconds)
        return pause

    def check(self) -> list[Committed]:
        """Verify every commit so far as each node has it: they are the same. Ends the signer."""
        last = min(node.height() for node in self.nodes) - 1
        found = [node.check_commits(1, last) for node in self.nodes]
        blocks = {tuple(node.block_hashes(1, last)) for node in self.nodes}
        assert len(blocks) == 1, "the nodes have different chains"
        self.signer.kill_9()
        return found[0]

    def check_watermark(self, committed: Committed) -> None:
        """That a majority of the guards has this commit's precommit on disk. After `check`."""
        assert self.signer.watermark() >= Watermark(committed.height, committed.round, 3)

    def logs(self) -> str:
        """The end of all logs."""
        return "\n".join([*(node.logs() for node in self.nodes), self.signer.logs()])

    def close(self) -> None:
        """End everything for good."""
        self.signer.close()
        for node in self.nodes:
            node.close()


def one_of_four(directory: Path, program: Program) -> Network:
    """Four validators of equal power: the first signs through cmkms, the others by their own key files."""
    nodes = tuple(
        _node(directory / f"validator-{number}", program, f"four-{program.tag}", keeps_its_key=number > 0)
        for number in range(4)
    )
    validators = [validator for node in nodes for validator in node.genesis()["validators"]]
    return _joined(directory, nodes, validators, [nodes[0].laddr])


def two_of_one(directory: Path, program: Program) -> Network:
    """Two nodes of one validator, which is its chain's only one: each would propose, and vote, for itself."""
    nodes = tuple(_node(directory / name, program, f"two-{program.tag}") for name in ("first", "second"))
    validators = list(nodes[0].genesis()["validators"])
    return _joined(directory, nodes, validators, [node.laddr for node in nodes])


def _node(directory: Path, program: Program, chain_id: str, *, keeps_its_key: bool = False) -> Node:
    directory.mkdir()
    return Node(directory, program, Transport.TCP, chain_id, consensus=_PATIENT, keeps_its_key=keeps_its_key)


def _joined(directory: Path, nodes: tuple[Node, ...], validators: list[object], laddrs: list[str]) -> Network:
    genesis = nodes[0].genesis() | {"validators": validators}
    for node in nodes:
        node.join(genesis, [other for other in nodes if other is not node])
    return Network(nodes, ClusterSigner(directory, nodes[0].chain_id, laddrs, nodes[0].key_file))


# What the fixture `make_network` gives a test.
MakeNetwork = Callable[[Callable[[Path, Program], Network], Program], Network]
