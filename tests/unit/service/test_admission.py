"""What kind of request takes whose room."""

import pytest

from service.api.admission import Lane, lane_of, limits_of
from service.settings import Settings


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("GET", "/readyz", Lane.HEALTH),
        ("POST", "/v1/search", Lane.SEARCH),
        ("POST", "/v1/search/explain", Lane.SEARCH),
        ("POST", "/v1/videos", Lane.UPLOAD),
        ("GET", "/v1/videos", Lane.OTHER),
        ("POST", "/v1/videos/batch", Lane.UPLOAD),
        ("PATCH", "/v1/uploads/1", Lane.UPLOAD),
        ("GET", "/v1/videos/1/content", Lane.MEDIA),
        ("GET", "/v1/videos/1/thumbnails/0.jpg", Lane.MEDIA),
        ("GET", "/v1/jobs/1/events", Lane.STREAM),
        ("POST", "/v1/captions/import", Lane.BULK),
        ("DELETE", "/v1/videos/1", Lane.OTHER),
        ("GET", "/v1/search\n", Lane.OTHER),
    ],
)
def test_each_kind_of_request_has_its_own_room(method, path, lane):
    assert lane_of(method, path) is lane


def test_every_lane_is_bounded():
    assert set(limits_of(Settings())) == set(Lane)
