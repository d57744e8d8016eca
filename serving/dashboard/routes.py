"""The routes of the dashboard, its middleware, and how errors become responses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving.dashboard.app import STATIC, DashboardApp
from serving.dashboard.connections import RequestLimiter
from serving.dashboard.guard import Guard
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from serving.dashboard.access import Access
    from serving.dashboard.hub import PageHub
    from serving.dashboard.shopper import Explainer
    from state.store import AsyncReader

REQUESTS_AT_ONCE_MAX = 100
"""Requests at once besides the open tabs; most of them wait for Redis."""


def create_app(
    reader: AsyncReader,
    explainer: Explainer,
    access: Access,
    *,
    tabs_max: int,
    consent_default: str,
) -> tuple[Starlette, PageHub]:
    """Create the application and its hub; the server calls `hub.end` to end the streams."""
    dashboard = DashboardApp(
        reader, explainer, access, tabs_max=tabs_max, consent_default=consent_default
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with dashboard.hub.running():
            yield
        await reader.close()
        explainer.close()

    routes = [
        Route("/", dashboard.index),
        Route("/login", dashboard.login, methods=["GET", "POST"]),
        Route("/healthz", dashboard.health),
        Route("/metrics", dashboard.metrics),
        Route("/api/hello", dashboard.stream_available),
        Route("/api/stream", dashboard.stream),
        Route("/api/history", dashboard.history),
        Route("/api/members", dashboard.members),
        Route("/api/export", dashboard.export),
        Mount("/static", GZipMiddleware(_Files(directory=STATIC))),
    ]
    starlette = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _error_response, UserError: _unavailable},
    )
    starlette.add_middleware(Guard, access=access)
    starlette.add_middleware(RequestLimiter, limit=tabs_max + REQUESTS_AT_ONCE_MAX)
    return starlette, dashboard.hub


async def _error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", HTTPStatus.SERVICE_UNAVAILABLE)


class _Files(StaticFiles):
    """Static files that the browser revalidates each time, so that a new release is visible at once."""

    def file_response(self, *args: object, **more: object) -> Response:
        response = super().file_response(*args, **more)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response
