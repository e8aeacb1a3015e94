"""Messages reach a worker by a folder or by Redis; a dead broker holds nobody up."""

import contextlib
import json
import os
import socket
import threading
import time
from uuid import uuid4

import pytest
import structlog

from service.broker import LEFT_BEHIND_S
from service.jobs import JobSender, Task, make_celery
from service.settings import Settings

DEADLINE_S = 60


@pytest.fixture(params=["folder", "redis"])
def broker_settings(request, tmp_path, monkeypatch):
    monkeypatch.setattr("service.jobs.SEND_TIMEOUT_S", 60.0)
    url = None if request.param == "folder" else request.getfixturevalue("redis_url")
    return Settings(data_dir=tmp_path / "data", broker_url=url)


@contextlib.contextmanager
def sending(settings):
    sender = JobSender(settings)
    try:
        yield sender
    finally:
        sender.close()


def receive(settings, count):
    """Take messages as a worker does."""
    app = make_celery(settings)
    bodies = []
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[app.conf.task_default_queue]
        with connection.Consumer(queue, accept=["json"]) as consumer:
            consumer.register_callback(lambda body, message: (bodies.append(body), message.ack()))
            deadline = time.monotonic() + DEADLINE_S
            while len(bodies) < count and time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=0.5)
    app.close()
    return bodies


def test_a_message_carries_the_id_of_its_job(broker_settings):
    job_id = uuid4()
    with sending(broker_settings) as sender:
        sender.send(Task.INGEST_VIDEO, job_id)
    ((arguments, _keywords, _options),) = receive(broker_settings, 1)
    assert arguments == [str(job_id)]


def test_messages_sent_at_the_same_time_all_arrive_once(broker_settings):
    sent = [uuid4() for _ in range(40)]
    with sending(broker_settings) as sender:
        threads = [
            threading.Thread(
                target=lambda part: [sender.send(Task.INGEST_VIDEO, each) for each in part],
                args=(sent[start::4],),
            )
            for start in range(4)
        ]
        for thread in threads:
            thread.start()
        received = receive(broker_settings, 40)
        for thread in threads:
            thread.join()
    assert sorted(body[0][0] for body in received) == sorted(map(str, sent))


def test_a_message_that_was_taken_leaves_no_file(tmp_path):
    settings = Settings(data_dir=tmp_path)
    with sending(settings) as sender:
        sender.send(Task.INGEST_VIDEO, uuid4())
        assert len(list((tmp_path / "broker" / "messages").iterdir())) == 1
    receive(settings, 1)
    assert list((tmp_path / "broker" / "messages").iterdir()) == []


def test_what_a_killed_process_left_in_the_folder_is_removed(tmp_path):
    settings = Settings(data_dir=tmp_path)
    make_celery(settings).close()
    messages = tmp_path / "broker" / "messages"
    for name, is_old in (("a.ingest.msg.part", True), ("b.ingest.msg.taken", False)):
        (messages / name).write_text("{")
        if is_old:
            _age(messages / name)
    (messages / "c.ingest.msg").write_text(json.dumps({}))
    _age(messages / "c.ingest.msg")
    make_celery(settings).close()
    assert sorted(path.name[0] for path in messages.iterdir()) == ["b", "c"]


def _age(path):
    then = time.time() - 2 * LEFT_BEHIND_S
    os.utime(path, (then, then))


def test_a_dead_redis_is_logged_and_holds_nobody_up(tmp_path):
    settings = Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0")
    with sending(settings) as sender, structlog.testing.capture_logs() as logs:
        sender.send(Task.INGEST_VIDEO, uuid4())
    assert [entry["event"] for entry in logs] == ["job_not_sent"]


def test_a_redis_that_never_answers_is_given_up(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        settings = Settings(data_dir=tmp_path, broker_url=f"redis://127.0.0.1:{port}/0")
        with sending(settings) as sender, structlog.testing.capture_logs() as logs:
            sender.send(Task.INGEST_VIDEO, uuid4())
    assert [entry["event"] for entry in logs] == ["job_not_sent"]


def test_a_folder_that_cannot_be_written_is_logged(tmp_path):
    settings = Settings(data_dir=tmp_path)
    with sending(settings) as sender, structlog.testing.capture_logs() as logs:
        (tmp_path / "broker" / "messages").rmdir()
        sender.send(Task.INGEST_VIDEO, uuid4())
    assert [entry["event"] for entry in logs] == ["job_not_sent"]
