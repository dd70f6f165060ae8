"""Runs `cmkms` unchanged but for one thing: at named places it looks whether it is to kill or to stop itself there.

The places are wrapped from outside, around functions of the product, which knows nothing of them. A name that is gone
from the product ends the start with an error: no place may vanish in silence.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cmkms import home
from cmkms.cli import main
from cmkms.cluster.coordination import Coordination
from cmkms.cluster.terms import FileTermStore
from cmkms.guard.accepting import GuardService
from cmkms.guard.decide import Accepted
from cmkms.guard.disk import PosixDisk, _PosixFile
from cmkms.guard.file import GuardFile
from cmkms.guard.guard import Guard
from cmkms.guard.majority import MajorityQuorum
from cmkms.guard.rpc import Accept
from cmkms.http.app import create_app
from cmkms.http.server import HttpServer
from cmkms.membership import Membership
from cmkms.node import run as run_node
from cmkms.replica.chain import ReplicaChain
from cmkms.replica.changing import Changing
from cmkms.replica.member import Replica
from cmkms.signing.dispatch import Dispatch
from cmkms.signing.forwarding import ForwardedSignature
from cmkms.signing.serving import Serving
from cmkms.signing.signer import Signer
from cmkms.validators.conversation import Conversation
from tests.faults.kills.bugs import Bug, plant
from tests.faults.kills.failpoints import Failpoints
from tests.faults.kills.places import Action, Control, Place

__all__ = ["launch", "operate"]

_LOADED: Final = (create_app, HttpServer, run_node)
"""What a start imports late: loaded here, so that the processes that are forked from this one do not."""

_Function = Callable[..., Any]

_UNSYNCED: Final = {
    "own": Place.OWN_UNSYNCED,
    "follower": Place.FOLLOWER_UNSYNCED,
    "start": Place.START_UNSYNCED,
    "bind": Place.BIND_UNSYNCED,
    "arm": Place.ARM_UNSYNCED,
    "move": Place.MOVE_UNSYNCED,
    "seal": Place.SEAL_UNSYNCED,
    "rearm": Place.REARM_UNSYNCED,
}
"""For whom the guard's file is written, and the place between the write and its fdatasync."""

_BESIDE: Final[dict[str, tuple[Place | None, Place | None, Place | None, Place | None]]] = {
    "last_released.json": (Place.RELEASED_UNSYNCED, Place.RELEASED_UNNAMED, Place.RELEASED_NAMED, None),
    "guard": (None, Place.BIRTH_FILE_UNNAMED, None, Place.BIRTH_FILE),
    "founders.json": (Place.FOUNDERS_UNSYNCED, None, None, Place.FOUNDERS),
    "born": (Place.MARKER_UNSYNCED, Place.MARKER_UNNAMED, None, Place.MARKER),
    "change.json": (Place.CHANGE_UNSYNCED, None, None, Place.CHANGE_KEPT),
    "vote": (Place.TERM_UNSYNCED, None, None, Place.VOTE_STORED),
}
"""Files that are written beside and renamed: before the fsync, before and after the rename, and when all is done."""


def launch(arguments: tuple[str, ...], log: str, control: str, bug: Bug | None) -> None:
    """Become `cmkms` with these arguments, in a process group of its own, with `log` as its output."""
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    _Wrapped(Control(Path(control))).install()
    if bug is not None:
        plant(bug)
    operate(arguments, log)


def operate(arguments: tuple[str, ...], log: str) -> None:
    """Become a command of `cmkms`, nothing armed in it."""
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    for name in [name for name in os.environ if name.startswith(("CMKMS_", "COMETKMS_"))]:
        del os.environ[name]
    sys.argv = ["cmkms", *arguments]
    main()


def _end_with_the_test() -> None:
    """Whatever becomes of the test, nothing of it lives on."""
    test = multiprocessing.parent_process()
    if test is not None:
        test.join()
        os.kill(os.getpid(), signal.SIGKILL)


class _Wrapped(Failpoints):
    """The places, and the functions of the product around which they lie."""

    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self._writing_for = ""
        self._wrote = False
        self._voted = False
        self._beside = threading.local()
        self._dying = False

    def install(self) -> None:
        self._wrap_holder()
        self._wrap_follower()
        self._wrap_files()
        self._wrap_forwarding()
        self._wrap_elections()
        self._wrap_leases()
        self._wrap_life()

    def _wrap_holder(self) -> None:
        self._around(MajorityQuorum, "_ask_all", before=Place.ASKING)
        _wrap(MajorityQuorum, "_ask", self._between_two_accepts)
        _wrap(ReplicaChain, "_ask_own_guard", self._own_write)
        _wrap(GuardService, "accept", self._accepted)
        self._around(Signer, "_sign", before=Place.QUORUM, after=Place.SIGNED)
        self._around(Conversation, "_answered", before=Place.REPLYING, flushed=Place.REPLIED)

    def _between_two_accepts(self, plain: _Function) -> _Function:
        def ask(quorum: MajorityQuorum, ballot: Any, member: str) -> None:
            others = [one for one in quorum._order if one != quorum._me]
            if self._dying:
                return
            if member == others[-1] and (arming := self.due(Place.HALF_ASKED)) is not None:
                # One accept has been handed to its socket, and leaves; this one, and the own, never do.
                self._dying = arming.action is Action.KILL
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self.hit, Place.HALF_ASKED, arming.action)
                if self._dying:
                    return
            plain(quorum, ballot, member)

        return ask

    def _own_write(self, plain: _Function) -> _Function:
        def ask_own_guard(chain: ReplicaChain, message: Any) -> None:
            if not isinstance(message, Accept):
                plain(chain, message)
                return
            self.passed(Place.OWN_UNWRITTEN)
            with self._writing("own"):
                plain(chain, message)

        return ask_own_guard

    def _wrap_follower(self) -> None:
        def serving(plain: _Function) -> _Function:
            def serve_guard(replica: Replica, member: str, message: Any) -> None:
                if not isinstance(message, Accept):
                    plain(replica, member, message)
                    return
                self.passed(Place.FOLLOWER_UNWRITTEN)
                with self._writing("follower"):
                    plain(replica, member, message)
                self.soon_passed(Place.FOLLOWER_ANSWERED)

            return serve_guard

        _wrap(Replica, "_serve_guard", serving)

    def _accepted(self, plain: _Function) -> _Function:
        def accept(service: GuardService, request: Accept) -> Any:
            answer = plain(service, request)
            if isinstance(answer.verdict, Accepted):
                self.passed({"own": Place.OWN_SYNCED, "follower": Place.FOLLOWER_SYNCED}.get(self._writing_for))
            return answer

        return accept

    def _wrap_files(self) -> None:
        def written(plain: _Function) -> _Function:
            def write(file: Any, offset: int, data: bytes) -> None:
                plain(file, offset, data)
                self._wrote = True

            return write

        def synced(plain: _Function) -> _Function:
            def sync(file: Any) -> None:
                if self._wrote:
                    self.passed(_UNSYNCED.get(self._writing_for))
                self._wrote = False
                plain(file)

            return sync

        def created(plain: _Function) -> _Function:
            def create(disk: PosixDisk, path: Path, data: bytes) -> None:
                with self._replacing("born" if path.parent.name == "born" else path.name):
                    plain(disk, path, data)

            return create

        _wrap(_PosixFile, "write", written)
        _wrap(_PosixFile, "sync", synced)
        _wrap(PosixDisk, "create", created)
        _wrap(home, "_write_synced", self._written_beside)
        _wrap(os, "fsync", self._fsynced)

    def _written_beside(self, plain: _Function) -> _Function:
        def write_synced(path: Path, data: bytes, mode: int) -> None:
            plain(path, data, mode)
            self.passed(self._places_beside()[1])

        return write_synced

    def _fsynced(self, plain: _Function) -> _Function:
        def fsync(descriptor: int) -> None:
            unsynced, _, named, _ = self._places_beside()
            self.passed(named if stat.S_ISDIR(os.fstat(descriptor).st_mode) else unsynced)
            plain(descriptor)

        return fsync

    def _wrap_forwarding(self) -> None:
        def sent(plain: _Function) -> _Function:
            def send(dispatch: Dispatch, *arguments: Any) -> bool:
                self.passed(Place.FORWARDING)
                left: bool = plain(dispatch, *arguments)
                if left:
                    self.soon_passed(Place.FORWARDED)
                return left

            return send

        def replied(plain: _Function) -> _Function:
            def reply(serving: Serving, served: Any, answer: Any) -> None:
                if isinstance(answer, ForwardedSignature):
                    self.passed(Place.FORWARD_ANSWERING)
                plain(serving, served, answer)

            return reply

        def answered(plain: _Function) -> _Function:
            def take(dispatch: Dispatch, member: str, forwarded: Any) -> None:
                if isinstance(forwarded.answer, ForwardedSignature):
                    self.passed(Place.FORWARD_ANSWERED)
                plain(dispatch, member, forwarded)

            return take

        _wrap(Dispatch, "_send", sent)
        _wrap(Dispatch, "answered", answered)
        _wrap(Serving, "_reply", replied)
        self._around(Serving, "_sign", before=Place.FORWARD_TAKEN)

    def _wrap_elections(self) -> None:
        def stored(plain: _Function) -> _Function:
            def store(terms: FileTermStore, kept: Any) -> None:
                self._voted = self._voted or self._writing_for == "vote"
                with self._replacing("vote" if self._writing_for == "vote" else ""):
                    plain(terms, kept)

            return store

        def asked(plain: _Function) -> _Function:
            def asked_for_vote(coordination: Coordination, *arguments: Any) -> None:
                self._voted = False
                with self._writing("vote"):
                    plain(coordination, *arguments)
                if self._voted:
                    self.soon_passed(Place.VOTED)

            return asked_for_vote

        _wrap(FileTermStore, "store", stored)
        _wrap(Coordination, "_asked_for_vote", asked)
        self._around(Coordination, "_asked_to_take_over", before=Place.TAKING_OVER)

    def _wrap_leases(self) -> None:
        def changed(plain: _Function) -> _Function:
            def lease_changed(replica: Replica) -> None:
                if replica.coordination.holds and replica._held != replica.coordination.term:
                    self.passed(Place.ELECTED)
                plain(replica)

            return lease_changed

        def peeked(plain: _Function) -> _Function:
            def take_peek(quorum: MajorityQuorum, member: str, *arguments: Any) -> None:
                if member != quorum._me:
                    self.passed(Place.PEEKED)
                plain(quorum, member, *arguments)

            return take_peek

        _wrap(Replica, "_lease_changed", changed)
        _wrap(MajorityQuorum, "_take_peek", peeked)
        self._around(MajorityQuorum, "lead", flushed=Place.PEEKING)

    def _wrap_life(self) -> None:
        def resigned(plain: _Function) -> _Function:
            def resign(replica: Replica) -> bool:
                handing_over: bool = plain(replica)
                if handing_over:
                    self.soon_passed(Place.HANDING_OVER)
                return handing_over

            return resign

        self._around(GuardFile, "_judged", before=Place.START_READ, after=Place.START_REWRITTEN, writing="start")
        self._around(Guard, "bind", after=Place.BOUND, writing="bind")
        self._around(Guard, "arm", after=Place.ARMED, writing="arm")
        self._around(Changing, "propose", after=Place.CHANGE_TAKEN)
        self._around(Guard, "move", after=Place.MOVED, writing="move")
        self._around(Guard, "seal", after=Place.SEALED, writing="seal")
        self._around(Guard, "arm_sealed", after=Place.REARMED, writing="rearm")
        self._around(Membership, "start", before=Place.START_JOINING)
        self._around(Membership, "leave", before=Place.STOPPING)
        self._around(Membership, "stop", before=Place.HANDED_OVER)
        _wrap(Replica, "resign", resigned)

    # ------------------------------------------------------------------------------------------------------- details

    def _around(
        self,
        owner: Any,
        name: str,
        *,
        before: Place | None = None,
        after: Place | None = None,
        flushed: Place | None = None,
        writing: str = "",
    ) -> None:
        def wrapping(plain: _Function) -> _Function:
            def wrapped(*arguments: Any, **named: Any) -> Any:
                self.passed(before)
                with self._writing(writing or self._writing_for):
                    result = plain(*arguments, **named)
                self.passed(after)
                if flushed is not None:
                    self.soon_passed(flushed)
                return result

            return wrapped

        _wrap(owner, name, wrapping)

    @contextmanager
    def _writing(self, whom: str) -> Generator[None]:
        """For whom the guard's file is written meanwhile. Only the loop's thread writes it."""
        former, self._writing_for = self._writing_for, whom
        try:
            yield
        finally:
            self._writing_for = former

    @contextmanager
    def _replacing(self, kind: str) -> Generator[None]:
        """Which file is written beside and renamed meanwhile, in this thread."""
        former = getattr(self._beside, "kind", "")
        self._beside.kind = kind
        try:
            yield
            self.passed(self._places_beside()[3])
        finally:
            self._beside.kind = former

    def _places_beside(self) -> tuple[Place | None, Place | None, Place | None, Place | None]:
        return _BESIDE.get(getattr(self._beside, "kind", ""), (None, None, None, None))


def _wrap(owner: Any, name: str, wrapping: Callable[[_Function], _Function]) -> None:
    plain: Any = owner.__dict__[name]
    function: Any = getattr(plain, "__func__", None)
    setattr(owner, name, wrapping(plain) if function is None else classmethod(wrapping(function)))
