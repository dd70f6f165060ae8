"""A view is a join-semilattice: in whatever order, how often and in what parts news comes, all end up the same."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cmkms.cluster.view import MAX_CHAINS, MAX_DELTA_BYTES, LeaseTaken, View
from cmkms.errors import PeerError
from cmkms.guard.hrs import HRS, MAX_HEIGHT, MAX_ROUND, Step
from cmkms.guard.state_file import SignState

# Few values of each kind, so that ties and overlaps are the rule.
states = st.builds(
    SignState,
    st.builds(HRS, st.integers(1, 3) | st.just(MAX_HEIGHT), st.sampled_from((0, MAX_ROUND)), st.sampled_from(Step)),
    st.sampled_from((b"a", b"b", b"x" * 512)),
    st.sampled_from((b"1", b"2", b"y" * 256)),
)
chains = st.sampled_from("abcdefgh") | st.text(st.characters(codec="utf-8"), max_size=16)
leases = st.builds(LeaseTaken, st.integers(0, 40) | st.just(2**63 - 1), st.sampled_from(("node-0", "node-1", "ü")))
views = st.builds(View, st.dictionaries(chains, states, max_size=8), st.lists(leases, max_size=24))
crowded = st.builds(
    View,
    st.dictionaries(st.integers(0, 2 * MAX_CHAINS).map(str), st.just(SignState(HRS(1, 0, Step.PREVOTE), b"a", b"1"))),
)


def joined(*parts: View | bytes) -> View:
    view = View()
    for part in parts:
        view.merge(part)
    return view


@given(views)
def test_merging_again_changes_nothing(view: View) -> None:
    whole = joined(view)
    assert not whole.merge(view)
    assert not whole.merge(whole.encode())
    assert whole == view


@given(views | crowded, views | crowded)
def test_the_order_of_two_does_not_matter(one: View, other: View) -> None:
    assert joined(one, other) == joined(other, one)


@given(views | crowded, views | crowded, views | crowded)
def test_nor_does_how_three_are_grouped(one: View, other: View, third: View) -> None:
    assert joined(joined(one, other), third) == joined(one, joined(other, third))


@given(st.lists(views, max_size=5), st.data())
def test_any_order_with_any_repetition_comes_to_the_same(all_news: list[View], data: st.DataObject) -> None:
    again = st.lists(st.sampled_from(all_news), max_size=5) if all_news else st.just([])
    shuffled: Sequence[View] = data.draw(st.permutations(all_news + data.draw(again)))
    assert joined(*shuffled) == joined(*all_news)


@given(views | crowded)
def test_a_view_is_the_sum_of_its_parts(view: View) -> None:
    parts = view.parts()
    assert joined(*parts) == view
    assert all(len(part) <= MAX_DELTA_BYTES for part in parts)


@given(views, views)
def test_nothing_known_is_ever_lowered(one: View, other: View) -> None:
    whole = joined(one, other)
    for chain, state in (*one.states(), *other.states()):
        known = whole.released(chain)
        assert known is not None
        assert known.hrs >= state.hrs


@given(views, views)
def test_a_merge_tells_whether_anything_is_new(one: View, other: View) -> None:
    whole = joined(one)
    assert whole.merge(other) == (joined(one, other) != one)


@given(views | crowded)
def test_a_view_is_read_as_it_was_written(view: View) -> None:
    assert View.decode(view.encode()) == view


@given(views, st.data())
def test_what_is_read_is_what_would_be_written(view: View, data: st.DataObject) -> None:
    raw = bytearray(view.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = View.decode(bytes(raw))
    except PeerError:
        return
    assert read.encode() == bytes(raw)
