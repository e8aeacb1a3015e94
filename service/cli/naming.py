"""Which video a person means, who says its id, its file name or its title."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from service.cli.client import Api
from service.cli.console import CliError

PAGE = 200


def find_video(api: Api, name: str) -> str:
    """Return the id of a video that is named by id, digest, file name or title.

    Raises:
        CliError: there is none of this name, or several are called so.
    """
    try:
        return str(UUID(name))
    except ValueError:
        pass
    videos = [one for page in pages(api, "/v1/videos", limit=PAGE) for one in page["videos"]]
    for by in ("sha256", "file_name", "title"):
        found = [one["id"] for one in videos if one[by] == name]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise CliError(f"{len(found)} videos are called {name}: {', '.join(found)}.")
    raise CliError(f"There is no video {name}.")


def pages(api: Api, path: str, **query: Any) -> Iterator[Any]:
    """Yield the pages of a list, one after the other."""
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, **query, **cursor)
        yield page
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}
