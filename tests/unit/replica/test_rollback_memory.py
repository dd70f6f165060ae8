"""What the rollback watch keeps: one finding for each guard, told again when its replica is back, bounded for each."""

from __future__ import annotations

from cmkms.guard.generation import GenerationId
from cmkms.replica.rollback import MAX_FILES, Rollback, RollbackWatch, Watermark
from tests.unit.guard.world import CHAIN, hrs

NONCE = b"n" * 16
AT = Watermark(GenerationId(1, bytes(32)), hrs(5, 0, 3))


def watch() -> RollbackWatch:
    watch = RollbackWatch()
    assert watch.see("node-1", CHAIN, NONCE, 7, AT) is None
    return watch


def test_one_guard_is_found_once_however_often_it_tells() -> None:
    one = watch()
    found = [one.see("node-1", CHAIN, NONCE, 6) for _ in range(100)]
    assert [back for back in found if back is not None] == [Rollback(NONCE, 7, 6)]


def test_each_guard_of_a_replica_is_found_for_itself() -> None:
    one = watch()
    one.see("node-1", "other-1", NONCE, 3)
    one.see("node-2", CHAIN, NONCE, 9)
    assert one.see("node-1", CHAIN, NONCE, 6) is not None
    assert one.see("node-1", "other-1", NONCE, 2) is not None
    assert one.see("node-2", CHAIN, NONCE, 8) is not None


def test_what_was_found_of_a_replica_is_kept_to_be_told_again() -> None:
    one = watch()
    one.see("node-1", "other-1", NONCE, 3)
    one.see("node-1", CHAIN, NONCE, 6)
    one.see("node-1", CHAIN, NONCE, 2)
    assert one.found("node-1") == [(CHAIN, Rollback(NONCE, 7, 6))]
    assert one.found("node-2") == []


def test_a_replica_that_makes_up_files_forgets_only_its_own() -> None:
    one = watch()
    for number in range(100 * MAX_FILES):
        one.see("node-2", CHAIN, number.to_bytes(16, "big"), 1)
    assert all(len(files) <= MAX_FILES for files in one._seen.values())
    assert one.see("node-1", CHAIN, NONCE, 6) is not None


def test_a_replica_whose_made_up_files_go_backwards_fills_no_memory() -> None:
    one = watch()
    assert one.see("node-1", CHAIN, NONCE, 6) is not None
    for number in range(100 * MAX_FILES):
        nonce = number.to_bytes(16, "big")
        one.see("node-2", CHAIN, nonce, 5)
        one.see("node-2", CHAIN, nonce, 4)
    assert len(one.found("node-2")) <= MAX_FILES
    assert one.found("node-1") == [(CHAIN, Rollback(NONCE, 7, 6))]
    assert not one.trusts("node-1", CHAIN, NONCE)
