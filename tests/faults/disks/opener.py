"""Opens homes as `cmkms start` does, one after the other in one process, and asks the guard the first question.

`python -m tests.faults.disks.opener` reads one request a line and answers each with one line: how the start ended. It
runs `cmkms.node.run` as it is; only what would serve afterwards is put aside for the question, as thousands of homes
are opened. Real starts of a sample are held against it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from cmkms import node
from cmkms.cluster.terms import FileTermStore
from cmkms.config import Flags, NodeConfig, load_config
from cmkms.errors import BrokenInvariantError, CmkmsError, OperatorError
from cmkms.guard.decide import Accepted, AcceptRequest
from cmkms.guard.guard import Guard
from cmkms.keys.identity import load_identity
from cmkms.served import OpenedChain

__all__ = ["CRASHED", "Opened", "Opener", "Question"]

CRASHED: Final = 70
"""Exit code of a start that ended with a traceback."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the guard once a home is open: the acknowledged bytes, and others at the same place, in hex."""

    chain_id: str
    acknowledged: str
    conflicting: str


@dataclass(frozen=True, slots=True)
class Opened:
    """How a start ended. `code` is its exit code, 0 where it would serve; `said` is what its operator is told.

    Of a guard that answers: `accepted_other` if it took other bytes at an acknowledged place, `kept` if it still takes
    the acknowledged ones for its own. `armed` says whether the guard would answer at all; where it would not,
    `without_guard` says what the replica is then.
    """

    code: int
    said: str
    without_guard: str = ""
    armed: bool = False
    kept: bool = False
    accepted_other: bool = False


class Opener:
    """The asking side, for one home after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disks.opener"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def open(self, home: Path, question: Question) -> Opened:
        """Open this home, ask, and close it again."""
        sent, received = self._process.stdin, self._process.stdout
        if sent is None or received is None:
            raise RuntimeError("the opener has no pipes")
        words = [str(home), question.chain_id, question.acknowledged, question.conflicting]
        sent.write(json.dumps(words) + "\n")
        sent.flush()
        return Opened(**json.loads(received.readline()))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class _Questioner:
    """Stands where the running replica would: asks each guard that was opened, and closes it."""

    question: Question
    found: list[dict[str, Any]]

    def __init__(self, config: NodeConfig, opened: list[OpenedChain], _refused: list[Any], log: Any) -> None:
        # As the replica itself does, before it serves anybody.
        load_identity(config.home.identity_file)
        FileTermStore(config.home.data_dir / "@term", lambda why: log.warning("term and vote", trouble=why)).load()
        self._opened = opened

    async def serve(self) -> int:
        for chain in self._opened:
            guard = chain.guard
            if isinstance(guard, Guard):
                self._ask(chain, guard)
                guard.close()
            elif guard is not None:
                # Nothing is asked of it before it is born; a running replica says for whom it waits.
                self.found.append({"said": "waiting for its birth", "without_guard": "waits for its birth"})
                unborn: object = getattr(guard, "guard", None)
                if isinstance(unborn, Guard):
                    unborn.close()
            else:
                state = "guard refused" if chain.refused else "waits for its birth"
                self.found.append({"said": chain.waiting_for or chain.refused, "without_guard": state})
        return 0

    def _ask(self, chain: OpenedChain, guard: Guard) -> None:
        if chain.generation is None or chain.loaded.site.chain_id != self.question.chain_id:
            return
        key_hash = chain.loaded.site.key_hash
        other, same = (
            guard.accept(AcceptRequest.of(key_hash, chain.generation, bytes.fromhex(text)))
            for text in (self.question.conflicting, self.question.acknowledged)
        )
        self.found.append(
            {
                "without_guard": "fuse blown" if guard.fuse.blown is not None else "",
                "armed": guard.fuse.blown is None,
                "kept": isinstance(same, Accepted),
                "accepted_other": isinstance(other, Accepted),
                "said": guard.blown,
            }
        )


def _open(home: str, question: Question) -> dict[str, Any]:
    _Questioner.question, _Questioner.found = question, []
    try:
        code = node.run(load_config(Flags(home=home, allow_unsafe=True), {}), frozenset())
    except BrokenInvariantError:
        return {"code": CRASHED, "said": traceback.format_exc()}
    except CmkmsError as error:
        # As the command line maps them (cmkms/cli/reporting.py).
        return {"code": 2 if isinstance(error, OperatorError) else 1, "said": str(error)}
    except Exception:  # noqa: BLE001 - what would be a traceback on the operator's terminal
        return {"code": CRASHED, "said": traceback.format_exc()}
    answer: dict[str, Any] = {"code": code}
    for found in _Questioner.found:
        answer |= {name: value or answer.get(name, value) for name, value in found.items()}
    return answer | {"said": answer.get("said", "")}


def _serve(requests: IO[str], answers: IO[str]) -> None:
    node._Replica = _Questioner  # type: ignore[assignment, misc]
    for line in requests:
        home, chain_id, acknowledged, conflicting = json.loads(line)
        print(json.dumps(_open(home, Question(chain_id, acknowledged, conflicting))), file=answers, flush=True)


if __name__ == "__main__":
    answers = sys.stdout
    # What is logged goes elsewhere: the answers' own stream holds nothing but answers.
    sys.stdout = sys.stderr
    _serve(sys.stdin, answers)
