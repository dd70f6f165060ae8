from __future__ import annotations

import asyncio
import time

import pytest

from cmkms.http.pacing import MAX_WAITING, REST_RATIO, BusyError, Pacing
from tests.patience import within


def page_of(seconds: float) -> None:
    """A page that takes the loop for `seconds`."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def test_a_first_page_is_made_at_once() -> None:
    started = time.perf_counter()
    assert await Pacing().make(lambda: "page") == "page"
    assert time.perf_counter() - started < within(0.05)


async def test_pages_leave_most_of_the_loop_to_others() -> None:
    pacing = Pacing()
    started = time.perf_counter()
    await asyncio.gather(*(pacing.make(lambda: page_of(0.01)) for _ in range(6)))
    assert time.perf_counter() - started >= 5 * 0.01 * (1 + REST_RATIO)


async def test_no_turn_of_the_loop_makes_two_pages() -> None:
    pacing = Pacing()
    turn = 0
    made_in: list[int] = []

    def page() -> None:
        page_of(0.002)
        made_in.append(turn)

    asking = [asyncio.create_task(pacing.make(page)) for _ in range(MAX_WAITING)]
    while not all(one.done() for one in asking):
        await asyncio.sleep(0)
        turn += 1
    assert len(made_in) == len(set(made_in)) == MAX_WAITING


async def test_more_askers_than_the_line_holds_are_turned_away() -> None:
    pacing = Pacing()
    await pacing.make(lambda: page_of(0.001))
    asking = [asyncio.create_task(pacing.make(lambda: page_of(0.001))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await pacing.make(lambda: None)
    await asyncio.gather(*asking)
    await pacing.make(lambda: None)


async def test_a_page_that_fails_and_an_asker_that_leaves_do_not_block_the_line() -> None:
    pacing = Pacing()
    with pytest.raises(ZeroDivisionError):
        await pacing.make(lambda: 1 // 0)
    await pacing.make(lambda: page_of(0.02))
    leaving = [asyncio.create_task(pacing.make(lambda: page_of(0.02))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    for one in leaving:
        one.cancel()
    await asyncio.wait(leaving)
    assert await pacing.make(lambda: "page") == "page"
