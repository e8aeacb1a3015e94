"""The guarded client against real servers that redirect, rebind, trickle and never end."""

import socket
import threading
import time

import pytest

from service.outbound import Limits, Outbound, OutboundError, Policy
from tests.hostile_servers import (
    content,
    endless,
    hang_up,
    redirect,
    running_server,
    silent,
    trickle,
    trickle_headers,
    use_tls,
)

LIMITS = Limits(total_s=20, idle_s=10, max_bytes=1_000_000)
HASTY = Limits(total_s=0.5, idle_s=0.4, max_bytes=10**12)


@pytest.fixture
def server():
    with running_server({"/video": content(b"content")}) as server:
        yield server


class Names:
    """A resolver: each name has a list of answers, and the last one stays."""

    def __init__(self, **answers):
        self.asked = []
        self._answers = {name.replace("_", "."): list(some) for name, some in answers.items()}

    def __call__(self, host, port):
        self.asked.append((host, port))
        answers = self._answers.get(host)
        if answers is None:
            raise OSError("no such host")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer.split()


def open_to(**names):
    """Return a client to which the loopback alone is allowed."""
    return Outbound(Policy.of(allow="127.0.0.1", ports="80"), resolver=Names(**names))


def fetch(outbound, url, limits=LIMITS):
    with outbound.get(url, limits) as answer:
        return answer.status, answer.read()


def refusal_of(outbound, url, limits=LIMITS):
    with pytest.raises(OutboundError) as refusal:
        fetch(outbound, url, limits)
    return refusal.value.reason


def test_a_body_comes_as_it_is(server):
    outbound = open_to(videos_example=["127.0.0.1"])

    assert fetch(outbound, f"http://videos.example:{server.server_port}/video?a=b") == (
        200,
        b"content",
    )
    method, path, headers, _body = server.seen[0]
    assert (method, path) == ("GET", "/video?a=b")
    assert headers == {
        "Host": f"videos.example:{server.server_port}",
        "User-Agent": "reelseek",
        "Accept-Encoding": "identity",
    }


def test_an_error_of_the_other_side_is_an_answer(server):
    assert fetch(open_to(), f"{server.url}/missing") == (404, b"")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::]", "0.0.0.0", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),  # noqa: S104
    ],
)
def test_no_spelling_of_this_machine_is_spoken_to(server, host):
    outbound = Outbound(Policy(ports=frozenset({server.server_port})))

    reason = refusal_of(outbound, f"http://{host}:{server.server_port}/video")

    assert reason in {"address_not_allowed", "name_not_found"}
    assert server.seen == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(server):
    names = Names(mixed_example=["1.1.1.1 127.0.0.1"])
    outbound = Outbound(Policy(ports=frozenset({server.server_port})), resolver=names)

    assert refusal_of(outbound, f"http://mixed.example:{server.server_port}/") == (
        "address_not_allowed"
    )
    assert server.seen == []


def test_a_resolver_that_changes_its_answer_is_asked_once_and_held_to_it(server):
    """DNS rebinding: public for the check, this machine for the connection."""
    names = Names(rebind_example=["192.0.2.1", "127.0.0.1"])
    # 192.0.2.1 is nobody's: it stands for a public address that the check lets through
    policy = Policy.of(allow="192.0.2.1", ports="80")
    outbound = Outbound(policy, resolver=names)
    url = f"http://rebind.example:{server.server_port}/video"

    assert refusal_of(outbound, url, HASTY) in {"timeout", "connection_failed"}
    assert len(names.asked) == 1
    assert refusal_of(outbound, url, HASTY) == "address_not_allowed"
    assert server.seen == []


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://[::1]:{port}/video", "address_not_allowed"),
        ("http://inner.example:{port}/video", "address_not_allowed"),
        ("//inner.example:{port}/video", "address_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "address_not_allowed"),
        ("file:///etc/passwd", "bad_url"),
        ("http://user:pass@127.0.0.1:{port}/video", "bad_url"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "bad_url"),
        ("http://[", "bad_url"),
        ("http://public.example:6379/", "port_not_allowed"),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(server, location, reason):
    server.routes["/start"] = redirect(location.format(port=server.server_port))
    outbound = open_to(inner_example=["10.0.0.1"], public_example=["1.1.1.1"])

    assert refusal_of(outbound, f"{server.url}/start") == reason
    assert [path for _, path, _, _ in server.seen] == ["/start"]


def test_redirects_are_followed_but_not_for_ever(server):
    server.routes |= {
        "/1": redirect("/2", 301),
        "/2": redirect("3", 307),
        "/3": redirect(f"{server.url}/video", 308),
        "/round": redirect("/round"),
    }
    outbound = open_to()

    assert fetch(outbound, f"{server.url}/1") == (200, b"content")
    assert refusal_of(outbound, f"{server.url}/round") == "too_many_redirects"
    assert len(server.seen) == 4 + 6


def test_headers_meant_for_one_host_do_not_follow_to_another(server):
    server.routes["/start"] = redirect(f"http://other.example:{server.server_port}/video")
    outbound = open_to(first_example=["127.0.0.1"], other_example=["127.0.0.1"])

    url = f"http://first.example:{server.server_port}/start"
    with outbound.get(url, LIMITS, headers={"Authorization": "secret"}) as answer:
        assert answer.read() == b"content"

    assert [headers.get("Authorization") for _, _, headers, _ in server.seen] == ["secret", None]


def test_bodies_without_an_end_are_cut_off(server):
    server.routes |= {
        "/endless": endless(),
        "/announced": content(b"", **{"Content-Length": "1000001"}),
    }
    outbound = open_to()

    assert refusal_of(outbound, f"{server.url}/endless") == "too_large"
    assert refusal_of(outbound, f"{server.url}/announced") == "too_large"


def test_a_compressed_body_is_not_unpacked(server):
    server.routes["/bomb"] = content(b"\x1f\x8b", **{"Content-Encoding": "gzip"})

    assert refusal_of(open_to(), f"{server.url}/bomb") == "encoded_body"


@pytest.mark.parametrize(
    "route",
    [trickle(), trickle_headers(), silent(), endless()],
    ids=["body", "headers", "silence", "endless"],
)
def test_who_is_slow_is_left(server, route):
    server.routes["/slow"] = route

    assert refusal_of(open_to(), f"{server.url}/slow", HASTY) == "timeout"


def test_headers_without_an_end_are_cut_off(server):
    def route(exchange):
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(10_000):
            exchange.wfile.write(b"X-More: " + b"1" * 1000 + b"\r\n")

    server.routes["/headers"] = route

    assert refusal_of(open_to(), f"{server.url}/headers") == "connection_failed"


def test_a_connection_that_breaks_is_said(server):
    server.routes["/broken"] = hang_up
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    outbound = open_to(gone_example=["127.0.0.1"])

    assert refusal_of(outbound, f"{server.url}/broken") == "connection_failed"
    assert refusal_of(outbound, f"http://gone.example:{port}/") == "connection_failed"
    assert refusal_of(outbound, "http://nowhere.example/") == "name_not_found"


def test_a_failure_of_who_reads_is_not_blamed_on_the_other_side(server):
    def read_to_a_broken_disk():
        with open_to().get(f"{server.url}/video", LIMITS) as answer:
            for _chunk in answer.chunks():
                raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        read_to_a_broken_disk()


def test_a_slow_resolver_is_left():
    is_over = threading.Event()

    def resolver(_host, _port):
        is_over.wait(30)
        return []

    try:
        started = time.monotonic()
        assert refusal_of(Outbound(Policy(), resolver=resolver), "http://a.example/", HASTY) == (
            "timeout"
        )
        assert time.monotonic() - started < 20
    finally:
        is_over.set()


def test_no_proxy_of_the_environment_is_used(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert fetch(open_to(), f"{server.url}/video") == (200, b"content")


def test_tls_asks_for_the_name_while_it_connects_to_the_address(server, tmp_path):
    trusting = use_tls(server, tmp_path, "videos.example")
    names = Names(videos_example=["127.0.0.1"], other_example=["127.0.0.1"])
    policy = Policy.of(allow="127.0.0.1", ports="443")
    outbound = Outbound(policy, resolver=names, tls=trusting)

    port = server.server_port
    assert fetch(outbound, f"https://videos.example:{port}/video") == (200, b"content")
    with pytest.raises(OutboundError, match="certificate is not valid"):
        fetch(outbound, f"https://other.example:{port}/video")
    with pytest.raises(OutboundError, match="certificate is not valid"):
        fetch(Outbound(policy, resolver=names), f"https://videos.example:{port}/video")
    server.routes["/down"] = redirect(f"http://videos.example:{port}/video")
    assert refusal_of(outbound, f"https://videos.example:{port}/down") == "insecure_redirect"


def test_a_message_is_posted_and_a_redirect_not_followed(server):
    server.routes["/hook"] = redirect("/video", 307)

    with open_to().post(
        f"{server.url}/hook", b"{}", LIMITS, headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 307
    ((method, path, headers, body),) = server.seen
    assert (method, path, body) == ("POST", "/hook", b"{}")
    assert headers["Content-Type"] == "application/json"
