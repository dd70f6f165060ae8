"""What is raised where nobody waits for it: in the event loop's own callbacks, or as an object is taken apart.

It sorts. A bug of ours ends the process; a connection that broke is a line for whoever debugs; the rest is told, with
its stack. It must never let a bug of ours go on, nor a stranger who breaks a library end the process, nor anything
reach standard error past the log.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

__all__ = ["log_unraisable", "loop_exception_handler"]

MAX_SOURCE_CHARS: Final = 300
"""What the loop names as the source is a `repr`, of any length."""

_OURS: Final = "cmkms"
_HTTP: Final = "cmkms.http"
"""Serves strangers, by libraries that call it: what breaks there costs a request. The signer goes on without it."""

_SOURCES: Final = ("task", "future", "handle", "protocol", "transport", "asyncgen")


def loop_exception_handler(
    logger: FilteringBoundLogger, fatal: Callable[[BaseException], None]
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Make a handler for `loop.set_exception_handler`. `fatal` ends the process because of a bug."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error: BaseException | None = context.get("exception")
        what = str(context.get("message", "unhandled exception in the event loop"))
        source = next((repr(context[key])[:MAX_SOURCE_CHARS] for key in _SOURCES if key in context), "")
        if error is None:
            logger.error("the event loop complains", what=what, source=source)
        elif _is_ours(error.__traceback__):
            fatal(error)
        elif isinstance(error, OSError):
            # TLS errors among them. Whoever owns the connection has been told that it is gone, and tells why.
            logger.debug("a connection broke", what=what, reason=str(error) or type(error).__name__)
        else:
            logger.error("an error in a library", what=what, source=source, exc_info=error)

    return handle


def log_unraisable(logger: FilteringBoundLogger) -> None:
    """From here on, what is raised where nothing can be raised is told by the log: Python prints it otherwise."""

    def tell(unraisable: sys.UnraisableHookArgs) -> None:
        what = unraisable.err_msg or "an object could not be taken apart"
        logger.error(what, source=repr(unraisable.object)[:MAX_SOURCE_CHARS], exc_info=unraisable.exc_value)

    sys.unraisablehook = tell


def _is_ours(trace: TracebackType | None) -> bool:
    """Whether an error came through our code, besides what serves HTTP."""
    while trace is not None:
        module = f"{trace.tb_frame.f_globals.get('__name__', '')}."
        if module.startswith(f"{_OURS}.") and not module.startswith(f"{_HTTP}."):
            return True
        trace = trace.tb_next
    return False
