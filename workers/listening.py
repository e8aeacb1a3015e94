"""How a worker waits for messages."""

from celery.apps import worker


class Worker(worker.Worker):
    """Waits for each message with a blocking read, whatever the broker.

    Celery's event loop, which it would use with Redis, may go deaf when a connection is cut and
    made anew: the worker lives, says that it is connected, and never takes a message again.
    """

    def should_use_eventloop(self) -> bool:
        """Say no."""
        return False
