"""What a view knows, its limits, and its one form in bytes. The laws of merging: tests/property/cluster."""

from __future__ import annotations

import pytest

from cmkms.cluster.view import MAX_CHAINS, MAX_DELTA_BYTES, MAX_TERMS, MAX_VIEW_BYTES, LeaseTaken, View
from cmkms.errors import PeerError
from cmkms.guard.hrs import HRS, Step
from cmkms.guard.state_file import SignState
from tests.unit.cluster.world import released


def test_a_higher_state_replaces_a_lower_one_and_not_the_other_way_round() -> None:
    view = View({"chain": released(5)})
    assert view.merge(View({"chain": released(6)}))
    assert not view.merge(View({"chain": released(5)}))
    assert view.released("chain") == released(6)


def test_a_round_and_a_step_are_higher_too() -> None:
    def at(round_: int, step: Step) -> SignState:
        return SignState(HRS(5, round_, step), b"x", b"y")

    view = View({"chain": at(0, Step.PREVOTE)})
    assert view.merge(View({"chain": at(0, Step.PRECOMMIT)}))
    assert view.merge(View({"chain": at(1, Step.PROPOSE)}))
    assert not view.merge(View({"chain": at(0, Step.PRECOMMIT)}))


def test_of_two_at_one_point_every_replica_keeps_the_same() -> None:
    one, other = released(5, b"one"), released(5, b"other")
    left, right = View({"chain": one}), View({"chain": other})
    left.merge(right)
    right.merge(View({"chain": one}))
    assert left == right


def test_chains_do_not_touch_each_other() -> None:
    view = View({"a": released(5)})
    view.merge(View({"b": released(1)}))
    assert view.chains == ("a", "b")
    assert view.released("a") == released(5)
    assert view.released("c") is None


def test_the_owner_hears_of_each_chain_that_rose_and_of_no_other() -> None:
    heard: list[str] = []
    view = View({"a": released(5), "b": released(5)}, risen=heard.append)
    heard.clear()
    view.merge(View({"a": released(6), "b": released(4), "c": released(1)}, [LeaseTaken(1, "node-0")]))
    assert heard == ["a", "c"]


def test_who_held_the_lease_is_remembered_newest_first() -> None:
    view = View(taken=[LeaseTaken(3, "node-1")])
    assert view.merge(View(taken=[LeaseTaken(4, "node-0")]))
    assert view.leases == (LeaseTaken(4, "node-0"), LeaseTaken(3, "node-1"))


def test_only_the_newest_terms_are_kept() -> None:
    view = View(taken=[LeaseTaken(term, "node-0") for term in range(100)])
    assert [entry.term for entry in view.leases] == list(range(99, 99 - MAX_TERMS, -1))
    assert not view.merge(View(taken=[LeaseTaken(1, "node-0")]))


def test_chains_beyond_the_limit_are_left_out_by_name() -> None:
    names = [f"chain-{number:03}" for number in range(MAX_CHAINS + 1)]
    view = View({name: released(1) for name in reversed(names)})
    assert view.chains == tuple(names[:-1])
    assert not view.merge(View({names[-1]: released(9)}))


def largest() -> View:
    state = SignState(HRS(2**63 - 1, 2**31 - 1, Step.PRECOMMIT), b"x" * 512, b"y" * 256)
    states = {f"{number:03}".ljust(64, "c"): state for number in range(MAX_CHAINS)}
    return View(states, [LeaseTaken(2**62 + term, "n" * 64) for term in range(MAX_TERMS)])


def test_the_largest_view_has_a_form_in_bytes() -> None:
    data = largest().encode()
    assert len(data) <= MAX_VIEW_BYTES
    assert View.decode(data) == largest()


def test_it_goes_through_the_log_in_parts_that_make_it_up() -> None:
    parts = largest().parts()
    assert all(len(part) <= MAX_DELTA_BYTES for part in parts)
    assert len(parts) <= 16
    whole = View()
    for part in reversed(parts):
        whole.merge(part)
    assert whole == largest()


def test_nothing_has_no_parts() -> None:
    assert View().parts() == ()
    assert not View()


@pytest.mark.parametrize(
    "state", [SignState(HRS(5, 0, Step.PREVOTE)), SignState(HRS(5, 0, Step.PREVOTE), b"x" * 513, b"y")]
)
def test_what_a_view_cannot_hold_is_refused_where_it_is_released(state: SignState) -> None:
    with pytest.raises(ValueError, match=r"only what was signed|513 bytes"):
        View({"chain": state})


def damaged() -> list[tuple[str, bytes]]:
    good = View({"a": released(5), "b": released(5)}, [LeaseTaken(1, "node-0"), LeaseTaken(2, "node-1")]).encode()
    one = View({"a": released(5)}).encode()
    return [
        ("nothing", b""),
        ("another version", b"\x02" + good[1:]),
        ("cut short", good[:-1]),
        ("something left over", good + b"\x00"),
        ("too many chains", b"\x01\xff\xff"),
        ("too long a name", b"\x01\x00\x01\x00\x00\x00\x41" + b"x" * 65),
        ("a chain twice", b"\x01\x00\x02" + one[3:-2] + one[3:-2] + b"\x00\x00"),
        ("a step that is none", one.replace(b"\x03\x00\x00\x00\x0a", b"\x04\x00\x00\x00\x0a")),
        ("no signature", one.replace(b"\x00\x00\x00\x01s", b"\x00\x00\x00\x00")),
        ("too long", b"\x01" * (MAX_VIEW_BYTES + 1)),
    ]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damaged()])
def test_what_is_not_a_view_is_refused(data: bytes) -> None:
    view = View({"a": released(7)})
    with pytest.raises(PeerError, match="a view: "):
        view.merge(data)
    assert view == View({"a": released(7)})
