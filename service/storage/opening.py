"""Open the files of an installation as its settings say."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from obstore.store import S3Store

from service.settings import Settings
from service.storage.bucket import BucketStore
from service.storage.cache import Cache
from service.storage.disk import Disk
from service.storage.files import Storage

CACHE = "cache"
TRIES, TRIES_WITHIN = 3, timedelta(seconds=10)
REQUEST_WITHIN, CONNECT_WITHIN = timedelta(seconds=30), timedelta(seconds=5)


def open_storage(settings: Settings) -> Storage:
    """Return the files: below the data folder, or in the bucket that the settings name.

    Nothing is asked of the object store yet.

    Raises:
        ValueError: the address of the bucket is none.
    """
    bucket = None
    if settings.storage_url is not None:
        disk = Disk(settings.data_dir, settings.disk_reserve_bytes)
        cache = Cache(settings.data_dir / CACHE, limit_bytes=settings.cache_bytes)
        public = settings.s3_public_endpoint or settings.s3_endpoint
        bucket = BucketStore(
            _objects(settings, settings.s3_endpoint),
            cache,
            disk,
            public=_objects(settings, public) if settings.media == "redirect" else None,
        )
    return Storage(
        settings.data_dir,
        limit_bytes=settings.upload_limit_bytes,
        reserve_bytes=settings.disk_reserve_bytes,
        store=bucket,
    )


def media_origin(settings: Settings) -> str | None:
    """Return from where browsers are sent videos, if not by the API."""
    if settings.storage_url is None or settings.media != "redirect":
        return None
    endpoint = settings.s3_public_endpoint or settings.s3_endpoint
    if endpoint is None:
        endpoint = f"https://s3.{settings.s3_region or 'us-east-1'}.amazonaws.com"
    address = urlsplit(endpoint)
    return f"{address.scheme}://{address.netloc}"


def _objects(settings: Settings, endpoint: str | None) -> S3Store:
    """Return the bucket at an address; what is not set comes from the usual AWS variables."""
    place = urlsplit(settings.storage_url or "")
    if place.scheme != "s3" or not place.netloc:
        raise ValueError(f"{settings.storage_url!r} is no bucket; write s3://bucket/prefix.")
    options: dict[str, Any] = {"region": settings.s3_region}
    if endpoint is not None:
        options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        options |= {
            "access_key_id": settings.s3_access_key.get_secret_value(),
            "secret_access_key": settings.s3_secret_key.get_secret_value(),
        }
    return S3Store(
        place.netloc,
        prefix=place.path.strip("/") or None,
        client_options={
            "allow_http": (endpoint or "").startswith("http://"),
            "timeout": REQUEST_WITHIN,
            "connect_timeout": CONNECT_WITHIN,
        },
        retry_config={"max_retries": TRIES, "retry_timeout": TRIES_WITHIN},
        **{name: value for name, value in options.items() if value is not None},
    )
