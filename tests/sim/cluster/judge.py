"""Who watches the simulated cluster: every signature that is made, every answer that reaches a node.

The answers are judged by the validator's own oracle, which shares no code with the signing path. The signatures are
judged where they are made: one message for each place, whoever makes it, and only with a majority of disks behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from cmkms.guard.hrs import HRS
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle, Rule
from cmkms.keys import Ed25519Key
from cmkms.privval import SignBytesError, encode_request
from cmkms.signing import Answer, Rejected, RejectedBecause
from cmkms.signing.signer import SignRequest
from cmkms.validators.reply import encode_answer
from tests.unit.guard.world import request as accept_request
from tests.unit.signing.messages import CHAIN, KEY

__all__ = ["Judge", "WatchedKey"]

Watermark = tuple[HRS, bytes | None]


class Judge:
    """`watermarks` reads what lies on every replica's disk, whoever is alive."""

    def __init__(self, watermarks: Callable[[], list[Watermark]]) -> None:
        self._watermarks = watermarks
        self._answers = Oracle([CHAIN])
        self.signed: dict[HRS, bytes] = {}
        self.rejected: list[Rejected] = []
        self.answers = 0

    def signature(self, sign_bytes: bytes) -> None:
        """A replica is about to sign this."""
        try:
            hrs = accept_request(sign_bytes).hrs
        except SignBytesError:
            return  # a vote extension, judged with its answer
        assert self.signed.setdefault(hrs, sign_bytes) == sign_bytes, f"two messages are signed at {hrs}"
        stored = self._watermarks()
        behind = sum(mark > hrs or (mark == hrs and held == sign_bytes) for mark, held in stored)
        assert behind > len(stored) // 2, f"signed at {hrs} with {behind} of {len(stored)} disks behind it"

    def answer(self, node: str, request: SignRequest, asked_at: float, now: float, answer: Answer) -> None:
        """A node has its answer."""
        self.answers += 1
        if isinstance(answer, Rejected):
            assert answer.because not in {RejectedBecause.INTERNAL, RejectedBecause.UNDECODABLE}, answer
            self.rejected.append(answer)
        seen = Observation(node, 0, asked_at, now, KEY.pub_key, encode_request(request), encode_answer(request, answer))
        repeated = not isinstance(answer, Rejected) and answer.replayed
        # A node that lags behind may be given the signature of before once more.
        allowed: set[Rule] = {Rule.WENT_BACK, Rule.AFTER_PRECOMMIT} if repeated else set()
        violations = [one for one in self._answers(seen) if one.rule not in allowed]
        assert not violations, violations


class WatchedKey:
    """The key of every replica; whatever it signs is judged first."""

    def __init__(self, judge: Callable[[bytes], None], key: Ed25519Key = KEY) -> None:
        self._judge = judge
        self._key = key
        self.type_name = key.type_name
        self.pub_key = key.pub_key
        self.address = key.address

    def sign(self, sign_bytes: bytes) -> bytes:
        self._judge(sign_bytes)
        return self._key.sign(sign_bytes)
