"""What of another replica's answer reaches a node, and what this replica does not answer from its own memory."""

from __future__ import annotations

import pytest

from cmkms.guard.state_file import SignState
from cmkms.privval import encode_request
from cmkms.signing import Here, Rejected, RejectedBecause, SignedVote
from cmkms.signing.forwarding import ForwardedSignature, NotHolder
from cmkms.signing.serving import MAX_SERVED
from cmkms.signing.signer import SignRequest, canonical
from tests.unit.signing.messages import KEY, NIL, precommit, prevote
from tests.unit.signing.ways import FAR, Crossroads, answer_to, forward_of

FINAL = {
    RejectedBecause.CONFLICT,
    RejectedBecause.REGRESSION,
    RejectedBecause.SEALED,
    RejectedBecause.SPLIT,
    RejectedBecause.HELD,
    RejectedBecause.MAX_HEIGHT,
    RejectedBecause.CEILING,
}
"""What the guards decided; a node may be told so for good."""


class TestRefusals:
    """A node never asks again for what it was refused."""

    @pytest.mark.parametrize("because", [one for one in RejectedBecause if one not in FINAL])
    def test_trouble_between_two_replicas_is_asked_again_and_never_told_to_the_node(
        self, because: RejectedBecause
    ) -> None:
        far = Crossroads(FAR)
        asked = far.ask(prevote())
        for _ in range(3):
            far.answer(Rejected(because, "not here"))
            far.clock.advance(0.1)
        assert asked.answers == []
        assert len(far.forwards) == 4
        far.answer(answer_to(prevote()))
        assert isinstance(asked.answer, SignedVote)

    @pytest.mark.parametrize("because", [one for one in RejectedBecause if one in FINAL])
    def test_what_the_guards_decided_is_told_at_once(self, because: RejectedBecause) -> None:
        far = Crossroads(FAR)
        asked = far.ask(prevote())
        far.answer(Rejected(because, "so the guards say"))
        assert asked.answer == Rejected(because, "so the guards say")


class TestRepeats:
    """`released` is the last signature that this replica knows of."""

    @staticmethod
    def knowing(request: SignRequest) -> Crossroads:
        roads = Crossroads(FAR)
        hrs, sign_bytes = canonical(request)
        roads.signer.learn(SignState(hrs, sign_bytes, KEY.sign(sign_bytes)))
        return roads

    def test_an_extension_is_signed_by_the_lease_holder_only(self) -> None:
        """Here it may be long past, and an extension that was not seen before must not be signed for what is past."""
        roads = self.knowing(precommit(extension=b"of before"))
        asked = roads.ask(precommit(extension=b"another"))
        assert asked.answers == []
        assert roads.key.signed == []
        assert len(roads.forwards) == 1

    @pytest.mark.parametrize(
        "request_",
        [prevote(), precommit(block=NIL), precommit(extension=b"e", skip=True)],
        ids=["prevote", "nil", "skip"],
    )
    def test_what_needs_none_is_answered_at_once_and_goes_nowhere(self, request_: SignRequest) -> None:
        roads = self.knowing(request_)
        asked = roads.ask(request_)
        assert isinstance(asked.answer, SignedVote)
        assert asked.answer.replayed
        assert roads.forwards == []

    def test_the_lease_holder_answers_a_repeat_with_an_extension_itself(self) -> None:
        roads = self.knowing(precommit(extension=b"of before"))
        roads.go(Here())
        assert isinstance(roads.ask(precommit(extension=b"another")).answer, SignedVote)


class TestManyForwarded:
    @pytest.mark.parametrize("before", [0, 10 * MAX_SERVED])
    def test_one_replicas_flood_keeps_no_others_request_from_being_served(self, before: int) -> None:
        here = Crossroads(Here())
        for rpc in range(10 * MAX_SERVED + 1):
            if rpc == before:
                here.dispatch.serve("node-1", forward_of(encode_request(prevote(10)), rpc=7))
            here.dispatch.serve("node-2", forward_of(encode_request(prevote(10)), rpc=rpc))
        here.quorum.decide()
        (answered,) = [reply.answer for member, reply in here.replies if member == "node-1"]
        assert isinstance(answered, ForwardedSignature)

    def test_of_its_own_the_oldest_are_given_up_and_the_newest_are_signed(self) -> None:
        here = Crossroads(Here())
        for rpc in range(MAX_SERVED + 3):
            here.dispatch.serve("node-2", forward_of(encode_request(prevote(10)), rpc=rpc))
        assert [(reply.rpc, reply.answer) for _, reply in here.replies] == [(n, NotHolder("", 0)) for n in range(3)]
        here.quorum.decide()
        signed = [reply.rpc for _, reply in here.replies if isinstance(reply.answer, ForwardedSignature)]
        assert signed == list(range(3, MAX_SERVED + 3))
