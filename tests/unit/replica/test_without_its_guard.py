"""A replica whose guard cannot be used at its start: when the others are asked instead, and when it must not serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmkms.errors import OperatorError
from cmkms.guard.claims import GuardPhase
from cmkms.keys import Ed25519Key
from cmkms.keys.file import write_key_file
from cmkms.keys.identity import create_identity
from cmkms.served import place_of
from cmkms.signing import Waiter
from cmkms.signing.forwarding import Forward
from tests.unit.replica.homes import Born, born_home, marker_of
from tests.unit.replica.lone import IDS, Lone
from tests.unit.signing.messages import CHAIN, prevote

OTHER_KEY = Ed25519Key(bytes(range(1, 33)))


@pytest.fixture
def born(tmp_path: Path) -> Born:
    return born_home(tmp_path)


class TestTheRightKey:
    def test_a_lost_guard_is_not_made_anew_and_its_chain_is_served_without_it(self, born: Born) -> None:
        opened = born.open()
        assert opened.guard is None
        assert "is lost" in opened.refused
        assert opened.marker == born.marker
        assert not born.config.home.guard_file(CHAIN).exists()

    def test_what_its_node_asks_for_is_forwarded_and_nothing_is_answered_for_the_guard(self, born: Born) -> None:
        lone = Lone(place_of(born.open()), identity=born.marker.members[0].identity)
        assert lone.replica.chains[CHAIN].phase is GuardPhase.REFUSED
        lone.meet("node-1")
        lone.meet("node-2")
        lone.hear_of("node-1", by="node-1", able=(CHAIN,))
        lone.replica.chains[CHAIN].dispatch.submit(Waiter(prevote(), lambda _answer: pytest.fail("nobody has signed")))
        assert [(to, forward.target) for _, to, forward in lone.of_kind(Forward)] == [("node-1", "node-1")]


class TestAnothersMarker:
    """Nothing under it may be served: the others would be asked about a key that is not theirs, or as somebody else."""

    def test_another_consensus_key(self, born: Born) -> None:
        born.key_file.unlink()
        write_key_file(born.key_file, OTHER_KEY)
        with pytest.raises(OperatorError, match="is lost"):
            born.open()

    def test_another_identity(self, born: Born) -> None:
        born.config.home.identity_file.unlink()
        create_identity(born.config.home.identity_file)
        with pytest.raises(OperatorError, match="is lost"):
            born.open()

    def test_another_chain(self, born: Born) -> None:
        born.mark(marker_of(born.marker.members[0].identity, chain_id="elsewhere-1"))
        with pytest.raises(OperatorError, match="is lost"):
            born.open()

    def test_another_replica_of_the_same_cluster(self, born: Born) -> None:
        with pytest.raises(OperatorError, match="is lost"):
            born.open(replace(born.config, id=IDS[1]))

    def test_a_hash_that_is_not_that_of_its_members(self, born: Born) -> None:
        forged = replace(born.marker.generation, hash=bytes(32))
        born.mark(replace(born.marker, generation=forged))
        with pytest.raises(OperatorError, match="is lost"):
            born.open()
