"""Vote extensions: each requester's own, only with the released precommit of a block, never otherwise."""

from __future__ import annotations

import pytest

from cmkms.privval import SignVoteRequest, extension_sign_bytes, vote_sign_bytes
from cmkms.signing import Rejected, SignedVote
from tests.unit.signing.delayed_quorum import Asked, Bench
from tests.unit.signing.messages import BLOCK_B, CHAIN, NIL, is_signature, precommit, prevote


@pytest.fixture
def bench() -> Bench:
    return Bench()


def extension_signature(asked: Asked) -> bytes:
    assert isinstance(asked.answer, SignedVote)
    return asked.answer.extension_signature


def over(extension: bytes, signature: bytes) -> bool:
    return is_signature(extension_sign_bytes(CHAIN, 10, 0, extension), signature)


@pytest.mark.parametrize("extension", [b"", b"prices", b"x" * 1024 * 1024])
def test_the_precommit_of_a_block_has_its_extension_signed(bench: Bench, extension: bytes) -> None:
    asked = bench.ask(precommit(extension=extension))
    bench.quorum.decide()
    assert over(extension, extension_signature(asked))


@pytest.mark.parametrize("request_", [prevote(), prevote(block=NIL), precommit(block=NIL)])
def test_a_prevote_and_a_precommit_of_nil_have_none(bench: Bench, request_: SignVoteRequest) -> None:
    asked = bench.ask(request_)
    bench.quorum.decide()
    assert extension_signature(asked) == b""
    assert len(bench.key.signed) == 1


def test_a_node_that_wants_none_gets_none(bench: Bench) -> None:
    asked = bench.ask(precommit(extension=b"prices", skip=True))
    bench.quorum.decide()
    assert extension_signature(asked) == b""
    assert bench.key.signed == [vote_sign_bytes(CHAIN, precommit().vote)]


def test_each_waiter_has_its_own_extension_signed(bench: Bench) -> None:
    asked = {extension: bench.ask(precommit(extension=extension)) for extension in (b"one", b"two", b"")}
    skipping = bench.ask(precommit(extension=b"four", skip=True))
    bench.quorum.decide()
    assert all(over(extension, extension_signature(one)) for extension, one in asked.items())
    assert extension_signature(skipping) == b""


def test_a_repeat_has_the_extension_of_the_repeat_signed(bench: Bench) -> None:
    bench.ask(precommit(extension=b"one"))
    bench.quorum.decide()
    assert over(b"two", extension_signature(bench.ask(precommit(extension=b"two"))))


def test_no_extension_is_signed_before_the_precommit_is_granted(bench: Bench) -> None:
    bench.ask(precommit(extension=b"one"))
    assert bench.key.signed == []


def test_no_extension_is_signed_for_a_precommit_that_is_refused(bench: Bench) -> None:
    bench.quorum.accept(vote_sign_bytes(CHAIN, precommit(block=BLOCK_B).vote))
    asked = bench.ask(precommit(extension=b"one"))
    bench.quorum.decide()
    assert isinstance(asked.answer, Rejected)
    assert bench.key.signed == []


def test_no_extension_is_signed_for_a_waiter_that_is_gone(bench: Bench) -> None:
    gone = bench.ask(precommit(extension=b"one"))
    bench.ask(precommit(extension=b"two"))
    bench.withdraw(gone)
    bench.quorum.decide()
    assert extension_sign_bytes(CHAIN, 10, 0, b"one") not in bench.key.signed
