"""What tests of resumable uploads say to the server."""

import base64
import hashlib
import socket
from contextlib import contextmanager

import httpx
from tusclient.client import TusClient

from tests.acceptance.api_server import ADMIN_KEY, poll

MIB = 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": "application/offset+octet-stream"}


def encoded(**said: str) -> dict[str, str]:
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())
    return {"Upload-Metadata": ",".join(pairs)}


def create(client: httpx.Client, length: int, headers=None, **said: str) -> str:
    response = client.post(
        "/v1/uploads",
        headers={**TUS, "Upload-Length": str(length), **encoded(**said), **(headers or {})},
    )
    assert response.status_code == 201, response.text
    return response.headers["location"]


def append(client, address, offset, content, **headers):
    headers = {**BODY, "Upload-Offset": str(offset), **headers}
    return client.patch(address, content=content, headers=headers)


def offset_of(client, address) -> int:
    response = client.head(address, headers=TUS)
    assert response.status_code == 200
    return int(response.headers["upload-offset"])


def checksum(content: bytes, name: str = "sha256") -> dict[str, str]:
    digest = base64.b64encode(hashlib.new(name, content).digest()).decode()
    return {"Upload-Checksum": f"{name} {digest}"}


def tus_client(url: str) -> TusClient:
    return TusClient(f"{url}/v1/uploads", headers={"Authorization": f"Bearer {ADMIN_KEY}"})


def parts_of(api, address: str) -> list[str]:
    """Return the pieces of an upload that are on the disk."""
    names = [part.name for part in api.state.storage.stored_parts()]
    return [name for name in names if name.startswith(address.rpartition("/")[2])]


@contextmanager
def sending(port: int, address: str, *, offset: int, content: bytes, announced: int):
    """Send a part of a request's body, and hang up at the end."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            f"PATCH {address} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {ADMIN_KEY}\r\nTus-Resumable: 1.0.0\r\n"
            f"Upload-Offset: {offset}\r\nContent-Length: {announced}\r\n"
            "Content-Type: application/offset+octet-stream\r\n\r\n".encode()
            + content
        )
        yield connection


def resume(client, address, content) -> httpx.Response:
    """Go on where the upload is; a request before may still be saving what came of it."""

    def try_once() -> httpx.Response | None:
        offset = offset_of(client, address)
        response = append(client, address, offset, content[offset:])
        return None if response.status_code == 409 else response

    answer = poll(try_once)
    assert answer.status_code == 204, answer.text
    return answer
