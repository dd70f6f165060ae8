"""The lease is worth what a majority acknowledged lately, counted from when it was sent."""

from __future__ import annotations

import pytest

from cmkms.cluster.lease import Mandate
from cmkms.cluster.timing import Timing

TIMING = Timing.of(0.4)
THREE = ("a", "b", "c")
FIVE = ("a", "b", "c", "d", "e")


def leading(members: tuple[str, ...] = THREE, term: int = 7, now: float = 10.0) -> Mandate:
    mandate = Mandate("a", members, TIMING)
    mandate.begin(term, now)
    return mandate


def until(mandate: Mandate, now: float) -> float:
    lease = mandate.lease(now)
    assert lease is not None
    assert (lease.holder, lease.term) == ("a", 7)
    return lease.until


def test_a_new_leader_holds_nothing_before_somebody_acknowledged() -> None:
    assert leading().lease(10.0) is None


def test_it_lasts_from_the_sending_not_from_the_acknowledgement() -> None:
    mandate = leading()
    mandate.acknowledge("b", 7, sent=10.1, now=10.3)
    assert until(mandate, 10.3) == pytest.approx(10.5)
    assert mandate.lease(10.49) is not None
    assert mandate.lease(10.51) is None


def test_a_majority_of_five_needs_two_others() -> None:
    mandate = leading(FIVE)
    mandate.acknowledge("b", 7, 10.2, 10.3)
    assert mandate.lease(10.3) is None
    mandate.acknowledge("c", 7, 10.1, 10.3)
    assert until(mandate, 10.3) == pytest.approx(10.5)


def test_of_four_two_others_are_needed() -> None:
    mandate = leading(FIVE[:4])
    mandate.acknowledge("b", 7, 10.2, 10.3)
    assert mandate.lease(10.3) is None


def test_one_member_counts_once() -> None:
    mandate = leading(FIVE)
    mandate.acknowledge("b", 7, 10.1, 10.3)
    mandate.acknowledge("b", 7, 10.2, 10.3)
    assert mandate.lease(10.3) is None


@pytest.mark.parametrize("member", ["a", "stranger"])
def test_neither_itself_nor_a_stranger_counts(member: str) -> None:
    mandate = leading()
    mandate.acknowledge(member, 7, 10.1, 10.2)
    assert mandate.lease(10.2) is None


def test_what_is_of_another_term_counts_for_nothing() -> None:
    mandate = leading()
    mandate.acknowledge("b", 6, 10.1, 10.2)
    mandate.acknowledge("c", 8, 10.1, 10.2)
    assert mandate.lease(10.2) is None


def test_what_was_sent_in_the_future_counts_for_nothing() -> None:
    mandate = leading()
    mandate.acknowledge("b", 7, sent=11.0, now=10.2)
    assert mandate.lease(10.2) is None


def test_a_late_acknowledgement_of_something_older_takes_nothing_away() -> None:
    mandate = leading()
    mandate.acknowledge("b", 7, 10.2, 10.3)
    mandate.acknowledge("b", 7, 10.1, 10.3)
    assert until(mandate, 10.3) == pytest.approx(10.6)


def test_a_leadership_begins_with_nothing_of_the_one_before() -> None:
    mandate = leading()
    mandate.acknowledge("b", 7, 10.2, 10.3)
    mandate.begin(8, 10.3)
    assert mandate.lease(10.3) is None


def test_given_up_it_is_gone_at_once_and_does_not_come_back() -> None:
    mandate = leading()
    mandate.acknowledge("b", 7, 10.2, 10.3)
    mandate.end()
    mandate.acknowledge("b", 7, 10.3, 10.3)
    assert mandate.lease(10.3) is None
    assert mandate.term is None


def test_a_single_member_holds_while_it_leads() -> None:
    mandate = leading(("a",))
    assert until(mandate, 99.0) == pytest.approx(99.4)


def test_a_young_leadership_is_defended_before_the_first_acknowledgement() -> None:
    mandate = leading()
    assert mandate.defended(10.1)
    assert not mandate.defended(10.5)
    mandate.end()
    assert not mandate.defended(10.1)


def test_times_keep_their_order_for_every_lease() -> None:
    for ttl in (0.05, 0.15, 0.4, 5.0):
        timing = Timing.of(ttl)
        assert timing.tick < timing.heartbeat < timing.lease < timing.election_min < timing.election_max


def test_a_lease_longer_than_the_shortest_election_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match="heartbeat < lease < election_min"):
        Timing(0.04, 0.5, 0.45, 0.7, 0.01, 0.03)
