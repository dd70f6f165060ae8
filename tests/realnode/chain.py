"""A chain as the tests see it: one node, its signer outside, and the verdict on all that was committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.realnode.binaries import Program
from tests.realnode.commits import Flag
from tests.realnode.node import Node, Transport
from tests.realnode.signers import Signer, Watermark

__all__ = ["Chain", "Checked", "MakeChain", "SignerFactory"]

# Directory, chain id, address of the validator, key file.
SignerFactory = Callable[[Path, str, str, Path], Signer]

# Seconds for blocks to come while nothing is broken: a hundred take about four alone on two cores.
_BLOCKS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What a chain's audit found: commits that verified, and how many of them needed more than one round."""

    commits: int
    late: int

    def __str__(self) -> str:
        return f"{self.commits} commits verified, {self.late} of them in a later round"


class Chain:
    """One node and one signer on one machine."""

    def __init__(self, node: Node, signer: Signer) -> None:
        self.node = node
        self.signer = signer

    def start(self, height: int = 1) -> None:
        """Start both, in the order that is sure to work, and wait for `height`."""
        if self.signer.waits_for_its_node:
            self.signer.start()
            self.signer.wait_until_ready()
            self.node.start()
        else:
            self.node.start()
            self.node.wait_until_it_listens_for_a_signer()
            self.signer.start()
        self.node.wait_for_height(height, _BLOCKS_SECONDS)

    def grow(self, blocks: int, seconds: float = _BLOCKS_SECONDS) -> float:
        """Wait for so many more blocks; the longest pause without one, in seconds."""
        return self.node.longest_pause_until(self.node.height() + blocks, seconds)

    def check(self) -> Checked:
        """Verify every commit so far, that none could have been signed by the node, and that the signer's disk knows.

        Ends the signer: its watermark is read from the files that it leaves behind.
        """
        assert self.node.own_address() != self.node.validator_address(), "the node has its validator's key"
        last = self.node.height() - 1  # the newest block's commit is final only with the next block
        commits = self.node.check_commits(1, last)
        assert all(set(commit.flags.values()) == {Flag.COMMIT} for commit in commits)
        self.signer.kill_9()
        assert self.signer.watermark() >= Watermark(last, commits[-1].round, 3)
        return Checked(len(commits), sum(commit.round > 0 for commit in commits))

    def logs(self) -> str:
        """The end of both logs."""
        return f"{self.node.logs()}\n{self.signer.logs()}"

    def close(self) -> None:
        """End both for good."""
        self.signer.resume()
        self.signer.kill_9()
        self.node.close()


# What the fixture `make_chain` gives a test.
MakeChain = Callable[[Program, Transport, SignerFactory], Chain]
