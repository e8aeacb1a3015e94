"""The composition root of the API: `uvicorn --factory service.main:create_app`."""

import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import anyio.to_thread
from fastapi import FastAPI

from service import log as logs
from service.api import (
    activations,
    captions,
    evaluations,
    explain,
    feedback,
    jobs,
    keys,
    media,
    models,
    page,
    problems,
    reference,
    replicas,
    search,
    session,
    startup,
    system,
    tunings,
    uploads,
    videos,
)
from service.api.metrics import Metrics
from service.api.middleware import BodyLimit, HostGuard, RequestContext
from service.settings import Settings

WEB = Path(__file__).parent / "web"
THREADS = 100
"""Routes that may run at once; searches and uploads have gates of their own."""
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
    app.add_middleware(BodyLimit)
    app.add_middleware(HostGuard, settings=settings)
    app.add_middleware(RequestContext, metrics=metrics)
    for routes in (
        uploads,
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
        system,
        replicas,
        reference,
    ):
        app.include_router(routes.router)
    app.include_router(page.make_router(WEB))
    return app


def _lifespan(
    settings: Settings, metrics: Metrics
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        running = await anyio.to_thread.run_sync(startup.start, settings, metrics)
        app.state.shared = running.state
        try:
            with _before_shutdown(running.state.feed.close_streams):
                yield
        finally:
            await anyio.to_thread.run_sync(running.stop)

    return lifespan


@contextmanager
def _before_shutdown(close_streams: Callable[[], None]) -> Iterator[None]:
    """End event streams as soon as the server is told to stop.

    A server waits for open answers before it tells the application that it stops, and streams
    would stay open until their jobs end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    previous = {kind: handler for kind, handler in found.items() if callable(handler)}

    def stop(kind: int, frame: FrameType | None) -> None:
        # in a thread: the main one may be holding the lock that this takes
        threading.Thread(target=close_streams, name="close-streams").start()
        previous[signal.Signals(kind)](kind, frame)

    for kind in previous:
        signal.signal(kind, stop)
    try:
        yield
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
