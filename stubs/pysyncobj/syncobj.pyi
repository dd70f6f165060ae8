# What cmkms/cluster/merging.py uses, private names and module globals included (docs/adr/0009).

from collections.abc import Callable, Iterable

from pysyncobj.config import SyncObjConf
from pysyncobj.journal import Journal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

monotonicTime: Callable[[], float]
PIPE_NOTIFIER_ENABLED: bool
createJournal: Callable[[str | None], Journal]
createPoller: Callable[[str], object]

class _RAFT_STATE:
    FOLLOWER: int
    CANDIDATE: int
    LEADER: int

class SyncObj:
    _SyncObj__serializer: object
    _SyncObj__raftLastApplied: int
    def __init__(
        self, selfNode: Node, otherNodes: Iterable[Node], *, conf: SyncObjConf, transport: Transport
    ) -> None: ...
    def doTick(self, timeToWait: float = 0.0) -> None: ...
    def transferLeadership(self, node: Node | None, callback: Callable[[None, int], None]) -> None: ...
    @property
    def raftCurrentTerm(self) -> int: ...
    @property
    def raftCommitIndex(self) -> int: ...
    @property
    def raftLastApplied(self) -> int: ...
    def _applyCommand(self, command: bytes, callback: None, commandType: int) -> None: ...
    def _isLeader(self) -> bool: ...
    def _getLeader(self) -> Node | None: ...
    def _SyncObj__doApplyCommand(self, command: bytes) -> None: ...
    def _SyncObj__parseChangeClusterRequest(self, command: bytes) -> None: ...
