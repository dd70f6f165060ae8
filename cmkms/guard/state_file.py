"""CometBFT's `priv_validator_state.json`: what a key has signed last, as every plain node and most signers keep it.

Read strictly: a file that only looks like it, `{}` or another signer's dialect, is refused, because a floor that is too
low is a double signature (source of the form: CometBFT `privval/file.go`, FilePVLastSignState). Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

from cmkms.errors import OperatorError
from cmkms.guard.hrs import HRS, Step, place_of
from cmkms.privval import SignBytesError, parse_sign_bytes

__all__ = ["MAX_STATE_FILE_BYTES", "SignState", "StateFileError", "parse_state", "render_state"]

MAX_STATE_FILE_BYTES: Final = 64 * 1024
"""A real one has under 1 KiB; an ML-DSA signature would add 4.5 KiB."""

_MAX_SHOWN: Final = 60
_FIELDS: Final = frozenset({"height", "round", "step", "signature", "signbytes"})
_GENERATION: Final = "generation"
_DIALECTS: Final = {
    "block_id": "tmkms",
    "nonce_public": "Horcrux",
    "vote_ext_signature": "Horcrux",
    "ephemeral_public": "Horcrux",
}


class StateFileError(OperatorError):
    """A state file that cannot be used: says which, why, and what was expected."""


@dataclass(frozen=True, slots=True)
class SignState:
    """The highest thing that a key has signed. `sign_bytes` and `signature` are both there or both None.

    `generation` is the number of the generation of guards that accepted it; 0 where that is not known.
    """

    hrs: HRS
    sign_bytes: bytes | None = None
    signature: bytes | None = None
    generation: int = 0

    @property
    def order(self) -> tuple[int, HRS]:
        """Of two the later is greater: a generation begins above all that was signed, or where it was lowered to."""
        return self.generation, self.hrs

    @property
    def timestamp_seconds(self) -> int | None:
        """Unix seconds of what was signed, or None if the bytes are not known."""
        return None if self.sign_bytes is None else parse_sign_bytes(self.sign_bytes).timestamp.seconds


def parse_state(
    data: bytes, source: str, chain_id: str, verify: Callable[[bytes, bytes], bool], *, ours: bool = False
) -> SignState:
    """Read a state file and hold it against its chain and key.

    `source` names the file in errors; `verify(sign_bytes, signature)` tells whether this chain's key made it. `ours`:
    what cmkms keeps for itself, which may also have a generation. Raises StateFileError.
    """
    fields = _load(data, source, _FIELDS | {_GENERATION} if ours else _FIELDS)
    generation = _generation(fields.get(_GENERATION, 0), source)
    hrs = _hrs(fields, source)
    sign_bytes = _optional(fields, "signbytes", source, bytes.fromhex)
    signature = _optional(fields, "signature", source, lambda text: base64.b64decode(text, validate=True))
    if sign_bytes is None and signature is None:
        return SignState(hrs, generation=generation)
    if sign_bytes is None or signature is None:
        _refuse(source, "it has only one of `signature` and `signbytes`; expected both, or neither")
    _check(sign_bytes, hrs, chain_id, source)
    if not verify(sign_bytes, signature):
        _refuse(source, "its signature was not made by this chain's key; is it another validator's state?")
    return SignState(hrs, sign_bytes, signature, generation)


def render_state(state: SignState, *, ours: bool = False) -> bytes:
    """Write the form that CometBFT reads: height a string, signature base64, sign-bytes upper-case hex.

    `ours`: for cmkms itself, with the generation, which nobody else knows.
    """
    fields: dict[str, str | int] = {
        "height": str(state.hrs.height),
        "round": state.hrs.round,
        "step": int(state.hrs.step),
    }
    if state.sign_bytes is not None and state.signature is not None:
        fields["signature"] = base64.b64encode(state.signature).decode()
        fields["signbytes"] = state.sign_bytes.hex().upper()
    if ours:
        fields[_GENERATION] = state.generation
    return (json.dumps(fields, indent=2) + "\n").encode()


def _load(data: bytes, source: str, known: frozenset[str]) -> dict[str, Any]:
    if len(data) > MAX_STATE_FILE_BYTES:
        _refuse(source, f"it has {len(data)} bytes, more than any state file")
    try:
        loaded: object = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(source, f"it is not whole JSON ({error}); an empty or torn file says nothing about what was signed")
    if not isinstance(loaded, dict):
        _refuse(source, "expected a JSON object")
    fields = cast("dict[str, Any]", loaded)
    for name in sorted(fields.keys() - known):
        dialect = _DIALECTS.get(name)
        hint = f"; this is the form of {dialect}, whose import comes with a later release" if dialect else ""
        _refuse(source, f"unknown field {_shown(name)}{hint}")
    missing = sorted({"height", "round", "step"} - fields.keys())
    if missing:
        _refuse(source, f"it lacks {', '.join(missing)}; a file without them says nothing about what was signed")
    return fields


def _generation(value: object, source: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        _refuse(source, f"generation is {_shown(value)}; expected a number")
    return value


def _hrs(fields: dict[str, Any], source: str) -> HRS:
    height, round_, step = fields["height"], fields["round"], fields["step"]
    if not isinstance(height, str) or not (height.isascii() and height.isdigit()):
        _refuse(source, f"height is {_shown(height)}; expected a number in quotes, as CometBFT writes it")
    if not isinstance(round_, int) or isinstance(round_, bool):
        _refuse(
            source, f"round is {_shown(round_)}; expected a number (in quotes, it is the form of tmkms and Horcrux)"
        )
    if not isinstance(step, int) or isinstance(step, bool) or step not in tuple(Step):
        _refuse(source, f"step is {_shown(step)}; expected 0 to 3")
    try:
        hrs = HRS(int(height), round_, Step(step))
    except ValueError as error:
        _refuse(source, str(error))
    if hrs.height == 0 and (hrs.round, hrs.step) != (0, Step.NONE):
        _refuse(source, f"it says {hrs}; at height 0 nothing is signed, expected 0/0/0")
    return hrs


def _check(sign_bytes: bytes, hrs: HRS, chain_id: str, source: str) -> None:
    try:
        parse_sign_bytes(sign_bytes)
        signed_on, signed = place_of(sign_bytes)
    except SignBytesError as error:
        _refuse(source, f"its signbytes are not those of a vote or proposal ({error})")
    if signed_on != chain_id:
        _refuse(source, f"it is of chain {_shown(signed_on)}, this is {chain_id!r}")
    if signed != hrs:
        _refuse(source, f"it says {hrs}, but its signbytes are of {signed}")


def _optional(fields: dict[str, Any], name: str, source: str, decode: Callable[[str], bytes]) -> bytes | None:
    text = fields.get(name)
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        _refuse(source, f"{name} is not a string")
    try:
        return decode(text)
    except (ValueError, binascii.Error) as error:
        expected = "hex" if name == "signbytes" else "base64"
        hint = " (in base64, it is Horcrux' form)" if name == "signbytes" else ""
        raise StateFileError(f"{source}: {name} is not {expected}{hint}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields


def _shown(value: object) -> str:
    """Show a value of the file, which may be as long as the file."""
    return repr(value)[:_MAX_SHOWN]


def _refuse(source: str, why: str) -> NoReturn:
    raise StateFileError(f"{source}: {why}")
