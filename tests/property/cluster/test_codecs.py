"""Messages of the election: whatever is written is read back, and noise is a PeerError or a message, nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cmkms.cluster.codec import (
    Acknowledge,
    AnswerPreVote,
    AppendEntries,
    Entry,
    GrantVote,
    InstallView,
    Message,
    NewerTerm,
    RequestPreVote,
    RequestVote,
    ShareView,
    TimeoutNow,
    decode,
    encode,
)
from cmkms.cluster.elections import LogEnd
from cmkms.errors import PeerError
from tests.unit.cluster.test_codec import MESSAGES
from tests.unit.cluster.test_strangers import settled

# Small ones too: a message that fits what the others know goes deeper.
numbers = st.integers(0, 5) | st.integers(0, 2**63 - 1)
indices = st.integers(1, 5) | st.integers(1, 2**62)
times = st.floats(0, 2**53)
ends = st.builds(LogEnd, numbers, numbers)
commands = st.just(b"\x01") | st.binary(max_size=32).map(lambda delta: b"\x00" + delta)
names = st.text(st.characters(codec="utf-8"), max_size=16)


@st.composite
def appends(draw: st.DrawFn) -> AppendEntries:
    terms = sorted(draw(st.lists(numbers, min_size=2, max_size=6)))
    entries = tuple(Entry(term, draw(commands)) for term in terms[1:-1])
    return AppendEntries(terms[-1], draw(times), draw(numbers), draw(indices), terms[0], entries)


@st.composite
def installs(draw: st.DrawFn) -> InstallView:
    first, second, term = sorted(draw(st.tuples(numbers, numbers, numbers)))
    both = Entry(first, draw(commands)), Entry(second, draw(commands))
    first_index = draw(indices)
    return InstallView(
        term, draw(times), max(first_index, draw(numbers)), first_index, *both, draw(st.binary(max_size=64))
    )


messages: st.SearchStrategy[Message] = st.one_of(
    appends(),
    installs(),
    st.builds(RequestVote, numbers, ends, st.booleans()),
    st.builds(GrantVote, numbers),
    st.builds(Acknowledge, numbers, times, indices, st.booleans(), st.booleans()),
    st.builds(TimeoutNow, numbers),
    st.builds(RequestPreVote, numbers, ends, names),
    st.builds(AnswerPreVote, numbers, st.booleans(), numbers),
    st.builds(NewerTerm, numbers),
    st.builds(ShareView, st.binary(max_size=64)),
)


@given(messages)
def test_each_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\x01" + tail))
def test_noise_is_refused_or_is_exactly_a_message(data: bytes) -> None:
    try:
        message = decode(data)
    except PeerError:
        return
    assert encode(message) == data


@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_message_is_refused_or_is_exactly_another(message: Message, data: st.DataObject) -> None:
    raw = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(raw))
    except PeerError:
        return
    assert encode(read) == bytes(raw)


@given(st.lists(st.tuples(st.sampled_from(("node-0", "node-1")), messages), max_size=8))
def test_no_message_of_a_member_breaks_another(said: list[tuple[str, Message]]) -> None:
    """A member with a bug costs elections at most: nothing but PeerError comes out, and a lease comes back."""
    world = settled()
    for to, message in said:
        try:
            world[to].received("node-2", encode(message))
        except PeerError:
            world.members[to].refused_data += 1
        world.run(0.02)
    assert world.run_until(lambda: world.holder is not None, 5) < 5
