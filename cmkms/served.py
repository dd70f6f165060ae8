"""A chain as this replica serves it: its guard opened, its signer and links, and what it tells about itself.

Opens what the configuration names and says why a chain is not served. What runs, and for how long, is `node.py`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from structlog.typing import FilteringBoundLogger

from cmkms.chains import LoadedChain, load_chain
from cmkms.config import NodeConfig, OnOutage
from cmkms.errors import BrokenInvariantError, CmkmsError, DiskError, OperatorError, UnavailableError
from cmkms.guard.birth import GuardRefusedError, JoiningGuard, UnarmedGuard, Unborn, open_guard
from cmkms.guard.born import BornMarker, MarkerError, read_marker
from cmkms.guard.disk import PosixDisk
from cmkms.guard.filesystem import untrusted_file_system
from cmkms.guard.generation import GenerationId, generation_hash
from cmkms.guard.guard import Guard
from cmkms.guard.quorum import NoGuard, Quorum, SoleQuorum, Timer
from cmkms.guard.released import load_released
from cmkms.guard.site import GuardSite
from cmkms.guard.state_file import SignState
from cmkms.replica.chain import Place, ReplicaChain
from cmkms.signing import REFUSE_AFTER_SECONDS, Dispatch, Signer
from cmkms.status import ChainStatus, GuardStatus, LastSigned
from cmkms.telemetry.events import ConnectionEvent, SignEvent
from cmkms.validators import Link, Observer

__all__ = [
    "FUSE_BLOWN",
    "NOT_SERVED",
    "OpenedChain",
    "ServedChain",
    "Tally",
    "chain_status",
    "check_file_systems",
    "open_chains",
    "patience_of",
    "place_of",
    "serve_alone",
    "serve_together",
]

NOT_SERVED: Final = "this chain is not served"
FUSE_BLOWN: Final = {
    True: "FUSE BLOWN: nothing is signed any more",
    False: "FUSE BLOWN: this replica's guard answers nothing any more; the other replicas sign without it",
}
"""What is said when a guard stops answering, by whether it is the only one."""


@dataclass(frozen=True, slots=True)
class OpenedChain:
    """One chain of this replica, its guard opened: `guard` is None while unborn (alone), or where it is `refused`."""

    loaded: LoadedChain
    guard: Guard | UnarmedGuard | JoiningGuard | None
    generation: GenerationId | None
    released: SignState | None
    waiting_for: str = ""
    refused: str = ""
    marker: BornMarker | None = None


@dataclass(slots=True)
class ServedChain:
    """One chain that is served: what takes its requests, and what is told of it."""

    loaded: LoadedChain
    guard: Guard | None
    signer: Signer
    dispatch: Dispatch
    waiting_for: Callable[[], str]
    can_sign: Callable[[], bool]
    stored: SignState | None
    refused: str = ""
    links: list[Link] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)


def check_file_systems(config: NodeConfig, log: FilteringBoundLogger) -> None:
    """Refuse a guard's folder that lies where nothing is kept; a chain's own may be a mount or a link elsewhere."""
    folders = (config.home.data_dir, *(config.home.chain_dir(chain.id) for chain in config.chains))
    found = {folder: untrusted_file_system(folder) for folder in folders if folder.exists()}
    untrusted = {why: folder for folder, why in found.items() if why}
    for why, folder in untrusted.items():
        if not config.allow_unsafe:
            raise OperatorError(
                f"{folder} lies on {why}: after a power cut or a move, a guard there may have forgotten what was "
                f"signed. Use a local disk with ext4 or xfs, or --allow-unsafe for a test"
            )
        log.warning("--allow-unsafe: the guard may forget here; never for a real validator", why=why)


def open_chains(
    config: NodeConfig, never_signed: frozenset[str], log: FilteringBoundLogger
) -> tuple[list[OpenedChain], list[ChainStatus]]:
    """Open every chain; the second list is of those that are refused, as they are shown for as long as this runs.

    A refused one never blocks the others, but with none left there is nothing to run.
    """
    chains: list[OpenedChain] = []
    errors: list[tuple[str, CmkmsError]] = []
    for chain in config.chains:
        try:
            chains.append(_open_chain(load_chain(config, chain), never_signed, log))
        except (OperatorError, DiskError, UnavailableError) as error:
            errors.append((chain.id, error))
    if not chains:
        # Trouble that may pass asks a supervisor to try again, whatever else there is.
        kind = OperatorError if all(isinstance(error, OperatorError) for _, error in errors) else UnavailableError
        raise kind("\n".join(str(error) for _, error in errors) or "no chain is configured")
    for chain_id, why in errors:
        log.error(NOT_SERVED, chain=chain_id, reason=str(why))
    return chains, [_refused_status(config, chain_id, str(why)) for chain_id, why in errors]


def _open_chain(loaded: LoadedChain, never_signed: frozenset[str], log: FilteringBoundLogger) -> OpenedChain:
    chain_id, site = loaded.config.id, loaded.site
    marker = None
    try:
        opened = open_guard(site, PosixDisk(), never_signed=chain_id in never_signed)
        marker = read_marker(site.home.born_marker(chain_id))
    except (GuardRefusedError, MarkerError) as error:
        marker = _readable_marker(loaded)
        if site.alone or marker is None or not _is_ours(marker, site):
            raise
        # The others may go on without this guard; requests that come here are forwarded to them.
        log.critical(
            "this replica's guard is not used: the others must sign without it", chain=chain_id, why=str(error)
        )
        return OpenedChain(loaded, None, None, load_released(site), refused=str(error), marker=marker)
    released = load_released(site)
    if isinstance(opened, Unborn):
        log.warning("not born yet: sign requests are held", chain=chain_id, waiting_for=opened.waiting_for)
        return OpenedChain(loaded, None, None, released, waiting_for=opened.waiting_for)
    for note in opened.notes:
        log.warning(note, chain=chain_id)
    if isinstance(opened, UnarmedGuard | JoiningGuard):
        return OpenedChain(loaded, opened, None, released)
    _tell_guard(opened.guard, site, log)
    _tell_members(opened.guard, site, log)
    record = opened.guard.record
    if released is not None and record is not None and released.hrs < record.hrs:
        # A kill left it behind its guard: what is past is not answered any more, least of all its extensions.
        released = None
    return OpenedChain(loaded, opened.guard, opened.generation, released, marker=marker)


def _readable_marker(loaded: LoadedChain) -> BornMarker | None:
    try:
        return read_marker(loaded.site.home.born_marker(loaded.config.id))
    except MarkerError:
        return None


def serve_alone(chain: OpenedChain, timer: Timer) -> ServedChain:
    """Serve a chain by this replica's own guard, the only one there is."""
    guard = chain.guard
    if isinstance(guard, UnarmedGuard | JoiningGuard):
        raise BrokenInvariantError(f"a guard of several is opened by a replica alone: {chain.loaded.config.id}")
    quorum: Quorum = NoGuard(chain.waiting_for)
    if guard is not None and chain.generation is not None:
        quorum = SoleQuorum(guard, chain.loaded.site.key_hash, chain.generation)
    signer = Signer(chain.loaded.config.id, chain.loaded.key, quorum, released=chain.released)
    signer.generation = chain.generation.number if chain.generation is not None else 0
    dispatch = Dispatch(chain.loaded.config.id, signer, timer, refuse_after=patience_of(chain))
    return ServedChain(
        chain.loaded,
        guard,
        signer,
        dispatch,
        waiting_for=lambda: quorum.waiting_for,
        can_sign=lambda: guard is not None and not quorum.waiting_for,
        stored=chain.released,
    )


def serve_together(chain: OpenedChain, replica: ReplicaChain) -> ServedChain:
    """Serve a chain by the quorum of several replicas."""
    return ServedChain(
        chain.loaded,
        replica.guard,
        replica.signer,
        replica.dispatch,
        waiting_for=lambda: replica.waiting_for,
        can_sign=lambda: replica.can_sign,
        stored=chain.released,
        refused=chain.refused,
    )


def patience_of(chain: OpenedChain) -> float | None:
    """Return how long a node waits in an outage before it is refused (s); None: for as long as it takes."""
    return REFUSE_AFTER_SECONDS if chain.loaded.config.on_outage is OnOutage.REFUSE else None


def _is_ours(marker: BornMarker, site: GuardSite) -> bool:
    """Tell whether a born marker speaks of this very chain, key and replica: only then may the others be asked."""
    own = marker.member(site.member_id)
    expected = generation_hash(site.chain_id, site.key_hash, marker.previous, marker.members)
    return own is not None and own.identity == site.identity and expected == marker.generation.hash


def place_of(chain: OpenedChain) -> Place:
    """Return what a replica of several needs of an opened chain."""
    return Place(
        chain.loaded.site, chain.loaded.key, chain.guard, chain.marker, chain.refused, chain.released, PosixDisk()
    )


def _tell_guard(guard: Guard, site: GuardSite, log: FilteringBoundLogger) -> None:
    status = guard.status()
    at = f"{status.height}/{status.round}/{status.step}"
    if status.fuse is not None:
        log.critical(
            FUSE_BLOWN[site.alone],
            chain=site.chain_id,
            reason=status.fuse.reason,
            last_readable=at,
            way_out=site.way_out,
        )
        return
    log.info("guard armed", chain=site.chain_id, watermark=at, generation=status.generation, nonce=status.nonce[:8])


def _tell_members(guard: Guard, site: GuardSite, log: FilteringBoundLogger) -> None:
    """Say it where the peer list is not the list of those who are asked: a change of generation is begun or due."""
    members = tuple(member.id for member in guard.members)
    if members and set(members) != set(site.members):
        log.warning(
            "the peer list is not who signs; `cmkms cluster change` makes it so",
            chain=site.chain_id,
            signing=", ".join(members),
            peer_list=", ".join(site.members),
        )


def _refused_status(config: NodeConfig, chain_id: str, why: str) -> ChainStatus:
    path = str(config.home.guard_file(chain_id))
    return ChainStatus(chain_id, "", "", b"", GuardStatus("refused", path), waiting_for=why)


class Tally:
    """Counts refusals for the status, says why a held request was in vain, and passes everything on to the journal."""

    def __init__(self, journal: Observer, refusals: Counter[str], waiting_for: Callable[[], str]) -> None:
        self._journal = journal
        self._refusals = refusals
        self._waiting_for = waiting_for

    def signed(self, event: SignEvent) -> None:
        """See `Observer.signed`."""
        if event.result == "refused":
            self._refusals[event.reason] += 1
        elif event.result == "gone":
            event = replace(event, reason="outage", detail=self._waiting_for())
        self._journal.signed(event)

    def connection(self, event: ConnectionEvent) -> None:
        """See `Observer.connection`."""
        self._journal.connection(event)


def chain_status(one: ServedChain) -> ChainStatus:
    """Return the chain's state for people."""
    released = one.signer.released
    last = None
    if released is not None and released.sign_bytes is not None and released.signature is not None:
        hrs = released.hrs
        last = LastSigned(hrs.height, hrs.round, int(hrs.step), released.signature, released.sign_bytes)
    path = str(one.loaded.site.path)
    without_guard = GuardStatus("refused" if one.refused else "unborn", path)
    return ChainStatus(
        chain_id=one.loaded.config.id,
        address=one.loaded.key.address,
        pub_key_type=one.loaded.key.type_name,
        pub_key=one.loaded.key.pub_key,
        guard=without_guard if one.guard is None else one.guard.status(),
        connections=tuple(link.status() for link in one.links),
        last_signed=last,
        refusals=tuple(sorted(one.refusals.items())),
        waiting_for=one.waiting_for(),
        can_sign=one.can_sign(),
    )
