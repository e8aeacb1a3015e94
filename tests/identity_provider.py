"""A small OpenID Connect provider on a free loopback port: discovery, keys, signed tokens."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

AUDIENCE = "reelseek"


class IdentityProvider:
    """Signs tokens and publishes the keys that check them."""

    def __init__(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                document = provider.documents().get(self.path)
                self.send_response(200 if document is not None and provider.is_up else 503)
                self.end_headers()
                if document is not None and provider.is_up:
                    self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}/realm"
        self.named_issuer = self.issuer
        self.asked: list[str] = []
        self.is_up = True
        self.key = new_key()

    def rotate(self) -> None:
        """Sign with another key from now on, and publish only that."""
        self.key = new_key()

    def documents(self) -> dict[str, Any]:
        """Return what it publishes, by path."""
        return {
            "/realm/.well-known/openid-configuration": {
                "issuer": self.named_issuer,
                "jwks_uri": f"{self.issuer}/keys",
            },
            "/realm/keys": KeySet([self.key]).as_dict(private=False),
        }

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return the claims of a good token; None leaves one out."""
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": int(time.time()) + 300,
            "scope": "openid reelseek:search",
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, key: Any = None, algorithm: str = "RS256", **changed: Any) -> str:
        """Sign a token."""
        key = key or self.key
        header = {"alg": algorithm, "kid": self.key.kid}
        return jwt.encode(header, self.claims(**changed), key, algorithms=[algorithm])


def new_key() -> RSAKey:
    """Make a key of a name of its own."""
    return RSAKey.generate_key(2048, auto_kid=True)


@contextmanager
def running_identity_provider() -> Iterator[IdentityProvider]:
    """Run one."""
    provider = IdentityProvider()
    thread = threading.Thread(target=provider.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
        thread.join()
