"""A worker goes on taking messages, whatever happened to the connection with the broker."""

import threading

import kombu
import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import make_url

from tests.faults.proxy import CuttableProxy, Line
from workers.listening import ForgivingQoS


@pytest.fixture
def proxy(redis_url):
    """The way to Redis, which can be cut."""
    proxy = CuttableProxy(make_url(redis_url).port)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_whose_end_could_not_be_told_takes_no_place(proxy, end):
    with kombu.Connection(f"redis://127.0.0.1:{proxy.port}/0") as connection:
        channel = connection.channel()
        queue = kombu.Queue("held", kombu.Exchange("held"), routing_key="held", channel=channel)
        queue.declare()
        producer = kombu.Producer(channel)
        for number in range(2):
            producer.publish(number, exchange="held", routing_key="held")
        assert isinstance(channel.qos, ForgivingQoS)
        channel.basic_qos(0, 1)
        message = queue.get()
        assert not channel.qos.can_consume()

        proxy.set_line(Line.CUT)
        with pytest.raises((OperationalError, *connection.connection_errors)):
            getattr(message, end)()
        proxy.set_line(Line.OPEN)

        assert channel.qos.can_consume()
        assert queue.get().payload == 1


def test_the_next_message_is_taken_as_soon_as_there_is_a_place(redis_url):
    """Not when the wait for messages is over, in which none was asked for."""
    taken = []
    with kombu.Connection(redis_url) as connection:
        queue = kombu.Queue("next", kombu.Exchange("next"), routing_key="next")
        producer = connection.Producer()
        for number in range(2):
            producer.publish(number, exchange=queue.exchange, routing_key="next", declare=[queue])
        with connection.Consumer(queue, on_message=taken.append, prefetch_count=1):
            connection.drain_events(timeout=60)
            (first,) = taken
            threading.Timer(0.5, first.ack).start()

            connection.drain_events(timeout=3600)

    assert [message.payload for message in taken] == [0, 1]
