"""What users say about a video is checked before it is kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidInputError
from service.metadata import (
    MAX_FILE_NAME,
    UploadMetadata,
    check_fields,
    clean_file_name,
    parse_metadata,
    title_of,
)


def test_metadata_is_read_and_tidied():
    said = {"title": " Beach ", "tags": [" sea", "sun", "sea"], "fields": {"n": [1, None, 2.5]}}
    assert parse_metadata(json.dumps(said)) == UploadMetadata(
        title="Beach", tags=("sea", "sun"), fields={"n": [1, None, 2.5]}
    )


@pytest.mark.parametrize("text", [None, "", " \n", "{}", '{"title": null, "tags": null}'])
def test_no_metadata_is_fine(text):
    assert parse_metadata(text) == UploadMetadata()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '"title"',
        "[" * 100_000,
        '{"titel": "x"}',
        '{"title": 1}',
        '{"title": ""}',
        '{"title": "a\\u0000b"}',
        '{"title": "\\ud800"}',
        json.dumps({"title": "x" * 301}),
        '{"tags": "sea"}',
        '{"tags": [1]}',
        '{"tags": [" "]}',
        json.dumps({"tags": ["x" * 101]}),
        json.dumps({"tags": [str(n) for n in range(51)]}),
        '{"fields": []}',
        '{"fields": {"": 1}}',
        '{"fields": {"a": NaN}}',
        '{"fields": {"a": "b\\u0000"}}',
        '{"fields": {"a": "\\udfff"}}',
        '{"fields": {"a": [[[[[[1]]]]]]}}',
        json.dumps({"fields": {"a": "x" * 17_000}}),
        json.dumps({"fields": {str(n): n for n in range(65)}}),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_metadata(text)


@given(st.text())
def test_a_file_name_can_always_be_shown(name):
    shown = clean_file_name(name)
    assert 0 < len(shown) <= MAX_FILE_NAME
    assert "/" not in shown
    assert shown.encode("utf-8")
    assert clean_file_name(shown) == shown
    assert title_of(shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("beach.mp4", "beach.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\con.mp4", "con.mp4"),
        ("nul\0byte.mp4", "nulbyte.mp4"),
        ("\u202e4pm.exe", "4pm.exe"),
        ("line\nbreak.mp4", "linebreak.mp4"),
        ("a/..", "video"),
        (".", "video"),
        (None, "video"),
        ("", "video"),
        ("🎥 emoji.mp4", "🎥 emoji.mp4"),
    ],
)
def test_a_hostile_file_name_is_made_harmless(name, shown):
    assert clean_file_name(name) == shown


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=10),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False),
        max_size=10,
    )
)
def test_plain_fields_come_back_as_they_were(fields):
    assert check_fields(fields) == fields
