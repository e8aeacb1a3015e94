"""The composition root of the API: `uvicorn --factory service.main:create_app`."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI

from service import log as logs
from service import tracing
from service.api import (
    activations,
    audit_events,
    batch,
    captions,
    cors,
    evaluations,
    explain,
    feedback,
    imports,
    jobs,
    keys,
    media,
    models,
    once,
    page,
    problems,
    reference,
    replicas,
    search,
    session,
    startup,
    system,
    tunings,
    tus,
    uploads,
    videos,
    webhooks,
)
from service.api.admission import Admission, limits_of
from service.api.auditing import AuditTrail
from service.api.headers import SecurityHeaders
from service.api.hosts import HostGuard
from service.api.metrics import Metrics
from service.api.middleware import BodyLimit, RequestContext
from service.api.patience import SlowBodies
from service.api.tus_middleware import TusMiddleware
from service.settings import Settings
from service.storage import media_origin

WEB = Path(__file__).parent / "web"
ROUTES = (
    uploads,
    batch,
    tus,
    videos,
    media,
    captions,
    search,
    explain,
    feedback,
    jobs,
    tunings,
    models,
    activations,
    evaluations,
    session,
    keys,
    audit_events,
    imports,
    webhooks,
    system,
    replicas,
    reference,
)
THREADS = 100
"""Routes that may run at once; searches and uploads have threads of their own."""
DESCRIPTION = "Self-hosted search for moments in your own videos, by what happens in them."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; it opens nothing before it is started.

    Args:
        settings: read from the environment if None.
    """
    if settings is None:
        settings = Settings()
        logs.configure(
            as_json=settings.log_json,
            level=logging.getLevelNamesMapping()[settings.log_level.upper()],
        )
    metrics = Metrics()
    app = FastAPI(
        title="Reelseek",
        version=version("reelseek"),
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's page loads its script from elsewhere; ours is `reference`
        redoc_url=None,
        lifespan=_lifespan(settings, metrics),
    )
    problems.install(app)
    reference.describe(app)
    once.install(app)
    app.add_middleware(TusMiddleware)
    app.add_middleware(
        SlowBodies,
        idle_s=settings.upload_idle_s,
        min_bytes_per_s=settings.upload_min_bytes_per_s,
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(Admission, limits=limits_of(settings))
    app.add_middleware(AuditTrail)
    cors.install(app, settings)
    app.add_middleware(HostGuard, settings=settings)
    app.add_middleware(RequestContext, metrics=metrics, headers=SecurityHeaders(settings))
    for routes in ROUTES:
        app.include_router(routes.router)
    app.include_router(page.make_router(WEB, media_origin=media_origin(settings)))
    return app


def _lifespan(
    settings: Settings, metrics: Metrics
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        end_tracing = tracing.configure(settings.otel_endpoint, kind="api")
        running = await anyio.to_thread.run_sync(startup.start, settings, metrics)
        app.state.shared = running.state
        try:
            with running.state.drain.on_signals(
                notice_s=settings.drain_notice_s, close_streams=running.state.feed.close_streams
            ):
                yield
        finally:
            await anyio.to_thread.run_sync(running.stop)
            await anyio.to_thread.run_sync(end_tracing)

    return lifespan
