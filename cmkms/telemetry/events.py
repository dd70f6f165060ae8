"""What the edges report: one value for each answered sign request, one for each change of a validator connection.

Pure values. They never hold key material: a block hash and an address are public.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ConnectionEvent", "SignEvent", "SignKind", "SignResult"]

SignKind = Literal["proposal", "prevote", "precommit"]

SignResult = Literal["signed", "replayed", "refused", "gone"]
"""`replayed`: the bytes had been signed before. `gone`: the node hung up before it had its answer."""


@dataclass(frozen=True, slots=True)
class SignEvent:
    """One sign request and how it ended.

    Attributes:
        chain_id: As the request says it; may be one that no configuration knows.
        kind: What was to be signed.
        height: Block height.
        round: Consensus round, from 0.
        step: 1 proposal, 2 prevote, 3 precommit.
        block_hash: 32 bytes, or empty for nil.
        who: Address of the validator that asked.
        result: How it ended.
        reason: A short fixed label of a refusal (conflict, regression, sealed, held, policy, ...), else empty.
        detail: A sentence for the reader of the log.
        seconds: From the request's last byte to the answer's first.
    """

    chain_id: str
    kind: SignKind
    height: int
    round: int
    step: int
    block_hash: bytes
    who: str
    result: SignResult
    reason: str = ""
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """One change of one validator connection.

    Attributes:
        chain_id: The chain it belongs to.
        address: The validator's address, as configured.
        state: dialling, waiting, handshaking or connected (`status.ConnectionStatus`).
        reason: A short fixed label of what went wrong (refused, closed, wrong_id, ...); empty if nothing did. With the
            state `connected`: trouble that the connection survived.
        detail: A sentence for the reader of the log.
        remote_id: Node id of the other side, once known.
    """

    chain_id: str
    address: str
    state: str
    reason: str = ""
    detail: str = ""
    remote_id: str = ""
