"""How a worker waits for messages."""

from collections.abc import Callable
from typing import Any

from celery.apps import worker
from kombu.transport import redis
from kombu.transport.virtual import QoS

LOOK_S = 0.1


class Worker(worker.Worker):
    """Waits for each message with a blocking read, whatever the broker.

    Celery's event loop, which it would use with Redis, may go deaf when a connection is cut and
    made anew: the worker lives, says that it is connected, and never takes a message again.
    """

    def should_use_eventloop(self) -> bool:
        """Say no."""
        return False


class ForgivingQoS(redis.QoS):
    """Counts the messages that a worker holds; one whose end could not be told is not held.

    Otherwise each of them takes one of the few places for good when Redis goes away just as its
    job ends, and a worker without places takes no message again. What became of the job is in the
    database: that Redis delivers the message again after its visibility timeout does no harm.
    """

    def ack(self, delivery_tag: str) -> None:
        """Tell Redis that a message is done with."""
        try:
            super().ack(delivery_tag)
        except Exception:
            QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: Any = False) -> None:  # noqa: FBT002 (as kombu has it)
        """Tell Redis that a message is not wanted."""
        try:
            super().reject(delivery_tag, requeue)
        except Exception:
            QoS.ack(self, delivery_tag)
            raise


class AttentivePoller(redis.MultiChannelPoller):
    """Asks for the next message as soon as there is a place for it.

    A worker that is full asks for none, and kombu sees only at its next look at the sockets that a
    place is free again: after the two seconds that Celery gives it, however short the jobs are.
    """

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> Any:
        """Wait for a message, for a short while only; the transport calls again."""
        return super().get(callback, LOOK_S if timeout is None else min(timeout, LOOK_S))


# kombu has no other place to say so
redis.Channel.QoS = ForgivingQoS
redis.MultiChannelPoller = AttentivePoller  # type: ignore[misc]
