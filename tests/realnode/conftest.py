"""Fixtures of the real-node tests: chains of one validator, for each version and transport, whose signer is outside.

Builds the binaries before the first test, so that no test's time limit pays for them, and prints what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.realnode.binaries import NODES, REFERENCE_SIGNER, Program, Unavailable, binary, built
from tests.realnode.chain import Chain, MakeChain, SignerFactory
from tests.realnode.clusters import ClusterChain, ClusterSigner, MakeClusterChain
from tests.realnode.networks import MakeNetwork, Network
from tests.realnode.node import Node, Transport
from tests.realnode.signers import CmkmsSigner

_FOLDER = Path(__file__).parent
_FIGURES = pytest.StashKey[list[str]]()
_EVERY_NODE = [(program, transport) for program in NODES for transport in Transport]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing, once, outside of any test. A test that needs what cannot be had skips with the reason."""
    wanted = any(item.path.is_relative_to(_FOLDER) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    for program in (*NODES, REFERENCE_SIGNER):
        if built(program):
            continue
        print(f"building {program}: once, about a minute", flush=True)  # noqa: T201 - else a minute of silence
        try:
            binary(program)
        except Unavailable as reason:
            print(reason)  # noqa: T201


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured, after the verdicts."""
    figures = config.stash[_FIGURES]
    if figures:
        terminalreporter.section("measured under real nodes")
        for line in figures:
            terminalreporter.line(line)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take down what this test measured, for the end of the run."""

    def take_down(text: str) -> None:
        request.config.stash[_FIGURES].append(f"{request.node.name}: {text}")

    return take_down


@pytest.fixture
def make_chain(tmp_path: Path) -> Iterator[MakeChain]:
    """Makes chains, none of them started yet; all that they started is ended with the test."""
    with ExitStack() as cleanup:

        def make(program: Program, transport: Transport, signer_type: SignerFactory) -> Chain:
            directory = tmp_path / f"{program.tag}-{transport}"
            directory.mkdir()
            try:
                node = Node(directory, program, transport, chain_id=f"realnode-{transport}")
                cleanup.callback(node.close)
                signer = signer_type(directory, node.chain_id, node.laddr, node.key_file)
            except Unavailable as reason:
                pytest.skip(str(reason))
            chain = Chain(node, signer)
            cleanup.callback(chain.close)
            return chain

        yield make


@pytest.fixture
def make_cluster_chain(tmp_path: Path) -> Iterator[MakeClusterChain]:
    """Makes chains of one validator under three replicas, none of them started yet; all is ended with the test."""
    with ExitStack() as cleanup:

        def make(
            program: Program,
            transport: Transport,
            *,
            peer_proxies: bool = False,
            consensus: Mapping[str, str] | None = None,
        ) -> ClusterChain:
            directory = tmp_path / f"{program.tag}-{transport}"
            directory.mkdir()
            try:
                node = Node(directory, program, transport, chain_id=f"realnode-{transport}", consensus=consensus)
            except Unavailable as reason:
                pytest.skip(str(reason))
            cleanup.callback(node.close)
            signer = ClusterSigner(directory, node.chain_id, [node.laddr], node.key_file, peer_proxies=peer_proxies)
            chain = ClusterChain(node, signer)
            cleanup.callback(chain.close)
            return chain

        yield make


@pytest.fixture
def make_network(tmp_path: Path) -> Iterator[MakeNetwork]:
    """Makes networks of several nodes, none of them started yet; all is ended with the test."""
    with ExitStack() as cleanup:

        def make(lay_out: Callable[[Path, Program], Network], program: Program) -> Network:
            try:
                network = lay_out(tmp_path, program)
            except Unavailable as reason:
                pytest.skip(str(reason))
            cleanup.callback(network.close)
            return network

        yield make


@pytest.fixture(params=_EVERY_NODE, ids=lambda pair: f"{pair[0].tag}-{pair[1]}")
def every_node(request: pytest.FixtureRequest) -> tuple[Program, Transport]:
    """Each version over each transport."""
    pair: tuple[Program, Transport] = request.param
    return pair


@pytest.fixture
def chain(make_chain: MakeChain, every_node: tuple[Program, Transport]) -> Chain:
    """One chain under cmkms, for each version and transport."""
    return make_chain(*every_node, CmkmsSigner)


@pytest.fixture
def chains(make_chain: MakeChain) -> dict[str, Chain]:
    """All four at once: for what is mostly waiting."""
    return {
        f"{program.tag}-{transport}": make_chain(program, transport, CmkmsSigner) for program, transport in _EVERY_NODE
    }
