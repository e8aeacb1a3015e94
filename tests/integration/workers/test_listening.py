"""A worker goes on taking messages, whatever happened to the connection with the broker."""

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
