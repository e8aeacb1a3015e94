"""The multipart reader gives the same whatever the pieces that the network makes."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.multipart import UploadReader, boundary_of
from service.api.problems import HttpProblemError
from service.errors import BadRequestError, ServiceError

BOUNDARY = b"boundary"


def body_of(content: bytes, metadata: bytes) -> bytes:
    return (
        b'--boundary\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
        + metadata
        + b'\r\n--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n'
        + b"Content-Type: video/mp4\r\n\r\n"
        + content
        + b"\r\n--boundary--\r\n"
    )


# pieces of the boundary are what a parser could trip over
tricky = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--bound", b"\r\n--boundar", b"x", b"\0\xff"])
).map(b"".join)


@given(content=st.one_of(st.binary(max_size=300), tricky), cuts=st.lists(st.integers(0, 600)))
def test_the_file_comes_through_however_the_body_is_cut(content, cuts):
    body = body_of(content, b'{"title": "x"}')
    received = bytearray()
    reader = UploadReader(BOUNDARY, received.extend)

    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for start, end in itertools.pairwise(places):
        reader.feed(body[start:end])
    form = reader.finish()

    assert bytes(received) == content
    assert (form.file_name, form.metadata) == ("a.mp4", '{"title": "x"}')


@given(body=st.one_of(st.binary(max_size=400), tricky), is_framed=st.booleans())
def test_any_bytes_are_read_or_refused_as_a_service_error(body, is_framed):
    reader = UploadReader(BOUNDARY, lambda _data: None)
    with contextlib.suppress(ServiceError):  # and nothing else
        reader.feed(b"--boundary\r\n" + body + b"\r\n--boundary--\r\n" if is_framed else body)
        reader.finish()


def test_a_body_that_was_cut_off_is_refused():
    whole = body_of(b"content", b"{}")
    for length in range(len(whole) - 4):
        reader = UploadReader(BOUNDARY, lambda _data: None)
        reader.feed(whole[:length])
        with pytest.raises(BadRequestError):
            reader.finish()


def test_an_error_of_the_disk_stops_the_upload():
    class DiskError(Exception):
        pass

    def write(_data: bytes) -> None:
        raise DiskError

    with pytest.raises(DiskError):
        UploadReader(BOUNDARY, write).feed(body_of(b"content", b"{}"))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
    ],
)
def test_the_boundary_is_found(content_type, boundary):
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "multipart/mixed; boundary=x"])
def test_another_type_has_no_boundary(content_type):
    with pytest.raises(HttpProblemError):
        boundary_of(content_type)
