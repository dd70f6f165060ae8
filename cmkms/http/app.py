"""The HTTP application: `/healthz`, `/readyz`, `/status`, `/metrics`, each GET or HEAD, and nothing else.

No route changes anything or needs a quorum: every answer is made from one snapshot, and pages that take a while to make
are paced, so that no number of requests can hold the loop that signs. No answer ever holds key material: what is told
is what `NodeStatus` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cmkms.http.pacing import BusyError, Pacing
from cmkms.http.schema import ErrorBody, StatusBody, status_body, status_json
from cmkms.status import NodeStatus

__all__ = ["MetricsPage", "create_app"]

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_READ_ONLY: Final = ["GET", "HEAD"]
_PATHS: Final = "/healthz, /livez, /readyz, /status and /metrics"
_FORBIDDEN: Final = 403
_UNAVAILABLE: Final = 503

_ERRORS: Final = {
    404: f"no such path; there are {_PATHS}",
    405: "this path can only be read: use GET or HEAD",
}
_BUSY: Final[dict[int | str, dict[str, Any]]] = {
    _UNAVAILABLE: {"model": ErrorBody, "description": "too many requests at once"}
}
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    _UNAVAILABLE: {
        "description": "it cannot sign: why, a line each; or too many requests at once",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/json": {"schema": ErrorBody.model_json_schema()},
        },
    }
}
"""For the OpenAPI schema, which tests are made from."""


class MetricsPage(Protocol):
    """What makes the body of `/metrics`; `cmkms.telemetry.metrics.Metrics` is one."""

    def expose(self, status: NodeStatus) -> bytes:
        """The exposition in Prometheus' text form 0.0.4."""
        ...


def create_app(
    snapshot: Callable[[], NodeStatus], metrics: MetricsPage, *, allowed_hosts: Collection[str] = ()
) -> FastAPI:
    """Make the application.

    Args:
        snapshot: Makes the present status; called on the event loop, must not wait.
        metrics: Makes the body of `/metrics`.
        allowed_hosts: Names, without port, that a request's Host may have; any if empty (`address.hosts_for`).
    """
    app = FastAPI(title="cmkms", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, debug=False)

    pacing = Pacing()

    async def healthz() -> Response:
        # Answering at all is the test: the loop that signs is the loop that answers. Never in line behind other pages.
        return PlainTextResponse("ok")

    async def readyz() -> Response:
        # For whoever decides by it where to look, or whether to go on with a rolling restart; never for a restart.
        obstacles = await pacing.make(lambda: status_body(snapshot()).obstacles())
        return PlainTextResponse("\n".join(obstacles) or "ok", _UNAVAILABLE if obstacles else 200)

    async def status() -> Response:
        body = await pacing.make(lambda: status_json(snapshot()))
        return Response(body, media_type="application/json")

    async def metrics_page() -> Response:
        body = await pacing.make(lambda: metrics.expose(snapshot()))
        return Response(body, media_type=_METRICS_TYPE)

    app.add_api_route("/healthz", healthz, methods=_READ_ONLY, response_class=PlainTextResponse)
    app.add_api_route("/livez", healthz, methods=_READ_ONLY, response_class=PlainTextResponse)
    app.add_api_route("/readyz", readyz, methods=_READ_ONLY, response_class=PlainTextResponse, responses=_NOT_READY)
    app.add_api_route("/status", status, methods=_READ_ONLY, response_model=StatusBody, responses=_BUSY)
    app.add_api_route("/metrics", metrics_page, methods=_READ_ONLY, response_class=PlainTextResponse, responses=_BUSY)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(BusyError, _answer_busy)
    app.add_exception_handler(Exception, _answer_failure)
    if allowed_hosts:
        app.add_middleware(_HostCheck, allowed=frozenset(host.lower() for host in allowed_hosts))
    return app


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    return _error(code, _ERRORS.get(code, "this request cannot be answered"), headers)


async def _answer_busy(_request: Request, _error_seen: Exception) -> Response:
    return _error(_UNAVAILABLE, "too many requests at once; ask again in a second", {"retry-after": "1"})


async def _answer_failure(_request: Request, _error_seen: Exception) -> Response:
    # The server logs the error with its traceback; the asker learns nothing of our inside.
    return _error(500, "internal error; see the log of this replica")


def _error(code: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(ErrorBody(error=text).model_dump(), status_code=code, headers=headers)


class _HostCheck:
    """Refuses requests whose Host header names another machine: a browser led here by a foreign DNS name."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if _without_port(host).lower() in self._allowed:
            await self._app(scope, receive, send)
        else:
            answer = _error(_FORBIDDEN, "this signer is served on loopback only: address it as localhost or 127.0.0.1")
            await answer(scope, receive, send)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
