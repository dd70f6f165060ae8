from collections.abc import Callable

class FAIL_REASON:
    SUCCESS: int
    REQUEST_DENIED: int

class SERIALIZER_STATE:
    NOT_SERIALIZING: int
    SUCCESS: int

class SyncObjConf:
    def __init__(
        self,
        *,
        autoTick: bool,
        appendEntriesUseBatch: bool,
        appendEntriesBatchSizeBytes: int,
        appendEntriesPeriod: float,
        commandsWaitLeader: bool,
        commandsQueueSize: int,
        dynamicMembershipChange: bool,
        leaderFallbackTimeout: float,
        raftMinTimeout: float,
        raftMaxTimeout: float,
        connectionTimeout: float,
        logCompactionMinEntries: int,
        logCompactionMinTime: float,
        journalFile: None,
        fullDumpFile: None,
        password: None,
        useFork: bool,
        onStateChanged: Callable[[int, int], None],
    ) -> None: ...
