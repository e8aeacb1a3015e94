"""What the headers of resumable uploads mean."""

import base64
import hashlib
import zlib

import pytest

from service.api.tus_headers import Checksum, parse_upload_metadata
from service.errors import BadRequestError, InvalidInputError
from service.metadata import UploadMetadata


def encoded(**said: str) -> str:
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items()
    )


def test_metadata_say_what_a_form_says():
    header = encoded(
        filename="clip ü.mp4", title=" A walk ", tags="red, blue,,red", fields='{"n": 1}'
    )

    name, metadata = parse_upload_metadata(header + ",relativePath,filetype dmlkZW8vbXA0")

    assert name == "clip ü.mp4"
    assert metadata == UploadMetadata(title="A walk", tags=("red", "blue"), fields={"n": 1})


@pytest.mark.parametrize("header", [None, "", " "])
def test_no_metadata_are_none(header):
    assert parse_upload_metadata(header) == (None, UploadMetadata())


@pytest.mark.parametrize(
    ("header", "failure"),
    [
        ("filename !!!", BadRequestError),
        ("filename YQ==,filename YQ==", BadRequestError),
        (",", BadRequestError),
        ("filename /w==", BadRequestError),
        (encoded(title="x" * 301), InvalidInputError),
        (encoded(title="a\0b"), InvalidInputError),
        (encoded(tags=",".join(map(str, range(51)))), InvalidInputError),
        (encoded(fields="[1]"), InvalidInputError),
        (encoded(fields="{"), InvalidInputError),
        (encoded(fields="[" * 20_000), InvalidInputError),
        (encoded(fields='{"a": NaN}'), InvalidInputError),
    ],
)
def test_metadata_that_mean_nothing_are_refused(header, failure):
    with pytest.raises(failure):
        parse_upload_metadata(header)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("sha1", hashlib.sha1(b"some bytes", usedforsecurity=False).digest()),
        ("sha256", hashlib.sha256(b"some bytes").digest()),
        ("crc32", zlib.crc32(b"some bytes").to_bytes(4, "big")),
    ],
)
def test_a_checksum_is_met_by_its_bytes_alone(name, digest):
    for content, is_met in ((b" bytes", True), (b" byteS", False), (b"", False)):
        checksum = Checksum(f"{name} {base64.b64encode(digest).decode()}")
        checksum.update(b"some")
        checksum.update(content)
        assert checksum.is_met() is is_met


@pytest.mark.parametrize("header", ["", "md5 YQ==", "sha1 ?", "sha1 YQ== YQ==", "SHA1 YQ=="])
def test_a_checksum_that_cannot_be_checked_is_refused(header):
    with pytest.raises(BadRequestError):
        Checksum(header)


def test_a_digest_that_is_missing_is_met_by_nothing():
    assert not Checksum("sha1").is_met()
