"""The bytes of videos and pictures: ranges, caching, and nothing that a browser would run."""

import pytest

from tests import factories
from tests.acceptance.api_server import send_video
from tests.acceptance.test_api_errors import check_problem
from tests.stored_files import blob_path


@pytest.fixture
def content(client, queued):
    """Address and bytes of an uploaded file."""
    url = client.get(f"/v1/videos/{queued['id']}").json()["links"]["content"]
    return url, client.get(url).content


def test_the_content_is_what_was_uploaded(client, video_bytes, content):
    url, body = content
    response = client.get(url)

    assert body == video_bytes
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-length"] == str(len(video_bytes))
    assert "private" in response.headers["cache-control"]
    sha256 = client.get(url.removesuffix("/content")).json()["sha256"]
    assert response.headers["etag"] == f'"{sha256}"'


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [("0-0", 0, 0), ("5-9", 5, 9), ("-7", -7, None), ("10-", 10, None), ("3-99999999999", 3, None)],
)
def test_a_range_is_answered_with_that_part(client, content, given, first, last):
    url, body = content
    first = first % len(body)
    last = len(body) - 1 if last is None else last

    response = client.get(url, headers={"Range": f"bytes={given}"})

    assert response.status_code == 206
    assert response.content == body[first : last + 1]
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(body)}"


@pytest.mark.parametrize(
    "given",
    ["bytes=", "bytes=-", "bytes=a-b", "bytes=9-5", "lines=1-2", "nonsense", "bytes=0-1,4-5"],
)
def test_a_range_that_we_do_not_know_is_ignored(client, content, given):
    url, body = content
    response = client.get(url, headers={"Range": given})

    assert (response.status_code, response.content) == (200, body)


@pytest.mark.parametrize("given", ["999999999-", "-0"])
def test_a_range_outside_is_a_416_problem(client, content, given):
    url, body = content
    response = client.get(url, headers={"Range": f"bytes={given}"})

    check_problem(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(body)}"


def test_if_range_gives_the_whole_file_when_it_has_changed(client, content):
    url, body = content
    etag = client.get(url).headers["etag"]

    same = client.get(url, headers={"Range": "bytes=0-3", "If-Range": etag})
    other = client.get(url, headers={"Range": "bytes=0-3", "If-Range": '"other"'})

    assert (same.status_code, same.content) == (206, body[:4])
    assert (other.status_code, other.content) == (200, body)


def test_head_tells_the_size_without_the_bytes(client, content):
    url, body = content
    response = client.head(url)

    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("tag", ["{etag}", "W/{etag}", '"x", {etag}', "*"])
def test_an_unchanged_file_is_a_304(client, content, tag):
    url, _body = content
    etag = client.get(url).headers["etag"]

    response = client.get(url, headers={"If-None-Match": tag.format(etag=etag)})

    assert (response.status_code, response.content) == (304, b"")
    assert client.get(url, headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_file_that_is_also_a_page_cannot_run(client, tmp_path):
    video = factories.write_video(tmp_path / "a.mp4", size=(36, 36)).read_bytes()
    script = b"<html><script>alert(document.cookie)</script></html>"
    upload = send_video(client, video + script, name="page.html")
    assert upload.status_code in {200, 202}, upload.text

    response = client.get(f"{upload.json()['links']['self']}/content")

    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_a_thumbnail_is_a_picture_with_an_etag(client, ready):
    video = client.get(f"/v1/videos/{ready['id']}").json()
    assert video["state"] == "ready"

    response = client.get(video["links"]["thumbnail"])
    segments = client.get(f"/v1/videos/{ready['id']}/segments").json()["segments"]
    second = client.get(segments[1]["thumbnail_url"])

    assert response.headers["content-type"] == "image/jpeg"
    assert "private" in response.headers["cache-control"]
    assert (response.content, second.content) == (b"jpeg0", b"jpeg1")
    assert response.headers["etag"] != second.headers["etag"]
    unchanged = client.get(
        video["links"]["thumbnail"], headers={"If-None-Match": response.headers["etag"]}
    )
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.parametrize("ordinal", ["2", "99", "2147483647"])
def test_a_picture_that_is_not_there_is_a_404(client, ready, ordinal):
    check_problem(client.get(f"/v1/videos/{ready['id']}/thumbnails/{ordinal}.jpg"), 404)


@pytest.mark.parametrize("ordinal", ["-1", "x", "99999999999999999999", "%00"])
def test_a_picture_without_a_number_is_4xx(client, ready, ordinal):
    response = client.get(f"/v1/videos/{ready['id']}/thumbnails/{ordinal}.jpg")

    assert response.status_code in {404, 422}


def test_a_delete_takes_everything_away_at_once(client, ready):
    own = f"/v1/videos/{ready['id']}"
    assert client.get(f"{own}/content").is_success

    response = client.delete(own)

    assert (response.status_code, response.content) == (204, b"")
    for path in ("", "/content", "/segments", "/thumbnails/0.jpg"):
        check_problem(client.get(own + path), 404)
    check_problem(client.delete(own), 404)
    check_problem(client.patch(own, json={"title": "x"}), 404)
    listed = client.get("/v1/videos").json()["videos"]
    assert ready["id"] not in {video["id"] for video in listed}
    found = client.post("/v1/search", json={"text": "anything", "limit": 100}).json()["moments"]
    assert ready["id"] not in {moment["video_id"] for moment in found}


def test_the_same_content_can_come_again_after_a_delete(api, client, video_bytes):
    first = send_video(client, video_bytes).json()
    client.delete(f"/v1/videos/{first['id']}")

    again = send_video(client, video_bytes)

    assert again.status_code == 202
    assert again.json()["id"] != first["id"]
    api.ingest(again.json(), seed=3)
    assert client.get(f"{again.json()['links']['self']}/content").content == video_bytes


def test_a_file_that_is_missing_is_said_and_mended_by_uploading_it_again(api, client, video_bytes):
    video = send_video(client, video_bytes).json()
    own = video["links"]["self"]
    sha256 = client.get(own).json()["sha256"]
    blob_path(api.state.storage, sha256).unlink()

    assert client.head(f"{own}/content").status_code == 404
    problem = check_problem(client.get(f"{own}/content"), 404, "file_missing")

    assert "reelseek audit" in problem["detail"]
    assert send_video(client, video_bytes).json()["id"] == video["id"]
    assert client.get(f"{own}/content").content == video_bytes
