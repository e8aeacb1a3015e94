"""Every failure of the service has a status, and every status a name of RFC 9110."""

import inspect
from http import HTTPStatus

import pytest

from service import errors
from service.api import problems
from service.api.hosts import allowed_hosts, is_loopback
from service.api.media import disposition
from service.settings import Settings

KINDS = [
    kind
    for _name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.ServiceError) and kind is not errors.ServiceError
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_expected_failure_has_a_status(kind):
    status = problems.status_of(kind("No."))

    assert status >= HTTPStatus.BAD_REQUEST
    assert status is not HTTPStatus.INTERNAL_SERVER_ERROR


def test_a_more_exact_failure_has_the_status_of_its_parent():
    class GoneError(errors.NotFoundError):
        pass

    assert problems.status_of(GoneError("Gone.")) is HTTPStatus.NOT_FOUND


def test_text_that_utf_8_cannot_hold_is_still_told():
    assert problems.printable("a\ud800b") == "a\\ud800b"


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("192.168.0.2", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_told_from_other_addresses(host, is_it):
    assert is_loopback(host) is is_it


def test_only_loopback_limits_the_host_names():
    assert allowed_hosts(Settings(host="0.0.0.0")) is None  # noqa: S104
    hosts = allowed_hosts(Settings(host="127.0.0.1", public_url="https://videos.example:8443/x"))
    assert hosts == {"localhost", "127.0.0.1", "::1", "videos.example"}


def test_a_file_name_cannot_leave_its_header():
    header = disposition('a"; filename="/etc/passwd\r\nX: y\\é.mp4')

    assert "\r" not in header
    assert header.count('"') == 2
    assert "filename*=UTF-8''a%22%3B%20filename%3D%22%2Fetc%2Fpasswd%0D%0AX%3A%20y%5C" in header
