"""How a forked replica ended is told alike to all who ask at once."""

from __future__ import annotations

import signal
import threading

from tests.faults.kills.replicas import FORKS, Forked


def ends_told(asking: int) -> list[int]:
    """How one that is killed has ended, as each thread is told that waits for it."""
    process = FORKS.Process(target=signal.pause)
    process.start()
    forked = Forked(process)
    told: list[int] = []
    threads = [threading.Thread(target=lambda: told.append(forked.wait())) for _ in range(asking)]
    for thread in threads:
        thread.start()
    forked.kill()
    for thread in threads:
        thread.join()
    return told


def test_threads_that_ask_at_once_are_told_the_same_end() -> None:
    """One that came late was told 255, which condemned a replica that had stopped in good order."""
    for _ in range(30):
        assert ends_told(3) == [-signal.SIGKILL] * 3
