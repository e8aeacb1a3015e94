"""A whole session of `reelseek serve` that logs all it can: no secret is anywhere it should not."""

import json
import sqlite3

import httpx
import pytest

from service import access
from service.access.principals import digest_of
from service.catalog.session import make_engine, make_sessions
from service.settings import Settings
from tests.acceptance.live import LiveService, upload, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.identity_provider import AUDIENCE, running_identity_provider

WRONG_KEY = "rsk_a-wrong-key-that-somebody-mistyped-0123456789"
PRIVATE_TEXT = "the words of a private search 8461"


class Session:
    """What was said in it, and what must not be found again."""

    def __init__(self, live, provider, folder) -> None:
        self.live = live
        self.provider = provider
        self.folder = folder
        self.secrets = {"admin key": live.admin_key, "wrong key": WRONG_KEY}
        self.answers: list[str] = []

    def bearer(self, key):
        return {"Authorization": f"Bearer {key}"}

    def ask(self, method, path, *, key, is_kept=True, **options):
        """Send a request, and keep its answer unless it may hold a secret."""
        answer = httpx.request(
            method, self.live.url + path, headers=self.bearer(key), timeout=60, **options
        )
        if is_kept:
            self.answers.append(f"{answer.headers}\n{answer.text}")
        return answer

    def use_keys(self):
        admin = self.live.admin_key
        body = {"name": "test", "scopes": ["search", "read", "write"], "expires_in_s": 3600}
        made = self.ask("POST", "/v1/keys", key=admin, json=body, is_kept=False).json()
        path = f"/v1/keys/{made['id']}/rotate"
        new = self.ask("POST", path, key=admin, json={"grace_s": 60}, is_kept=False).json()
        self.secrets |= {"key": made["key"], "rotated key": new["key"]}
        self.ask("GET", "/v1/keys", key=admin)
        self.ask("GET", "/v1/videos", key=WRONG_KEY)
        self.ask("GET", f"/v1/videos?key={new['key']}&limit=x", key=new["key"])
        self.ask("POST", "/v1/keys", key=admin, content=b'{"name": "' + new["key"].encode())
        self.ask("POST", "/v1/keys", key=admin, json={"key": new["key"]})
        self.ask("POST", "/v1/search", key=new["key"], json={"text": PRIVATE_TEXT})
        token = self.provider.token(scope="reelseek:read")
        self.secrets["token"] = token
        assert self.ask("GET", "/v1/videos", key=token).is_success
        self.ask("GET", "/v1/videos", key=token + "x")

    def use_links(self):
        engine = make_engine(Settings(data_dir=self.live.data_dir).sqlalchemy_url)
        link = access.make_login_token(make_sessions(engine), ttl_s=600)
        engine.dispose()
        self.secrets["login link"] = link
        with httpx.Client(
            base_url=self.live.url, headers={"Origin": self.live.url}, timeout=60
        ) as browser:
            assert browser.post("/v1/session", json={"token": link}).is_success
            self.secrets["session"] = dict(browser.cookies)["reelseek_session"]
            for _ in range(2):
                self.answers.append(browser.post("/v1/session", json={"token": link}).text)
            self.answers.append(browser.get("/v1/session").text)

    def use_videos(self):
        video = make_video(self.folder / "clip.mp4", seed=3)
        with httpx.Client(
            base_url=self.live.url, headers=self.bearer(self.secrets["rotated key"]), timeout=60
        ) as client:
            wait_until_processed(client, upload(client, video)["id"])
        self.ask("GET", "/metrics", key=self.live.admin_key)
        self.ask("GET", "/v1/system", key=self.live.admin_key)
        self.ask("GET", "/v1/audit-events?limit=200", key=self.live.admin_key)

    def break_the_database(self):
        database = sqlite3.connect(self.live.data_dir / "reelseek.sqlite", timeout=30)
        database.execute("ALTER TABLE api_keys RENAME TO moved")
        database.commit()
        answer = self.ask("GET", "/v1/videos", key=self.secrets["key"])
        assert answer.status_code == 503
        database.execute("ALTER TABLE moved RENAME TO api_keys")
        database.commit()
        database.close()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    with running_identity_provider() as provider:
        live = LiveService(
            tmp_path_factory.mktemp("data"),
            {
                "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path_factory.mktemp("bundle"))),
                "REELSEEK_LOG_LEVEL": "debug",
                "REELSEEK_LOG_JSON": "1",
                "REELSEEK_OIDC_ISSUER": provider.issuer,
                "REELSEEK_OIDC_AUDIENCE": AUDIENCE,
            },
        )
        try:
            live.wait_until_ready()
            session = Session(live, provider, folder)
            session.use_keys()
            session.use_links()
            session.use_videos()
            session.break_the_database()
        finally:
            live.stop()
    return session


def found_in(text, secrets):
    return sorted(name for name, secret in secrets.items() if secret in text)


def test_nothing_that_was_printed_holds_a_secret(session):
    output = session.live.output

    assert '"request_answered"' in output, "it did not log what it was told to"
    assert '"database_unavailable"' in output
    assert found_in(output, session.secrets) == []
    assert PRIVATE_TEXT not in output
    assert digest_of(session.secrets["key"]) not in output


def test_no_answer_holds_a_secret_but_the_one_that_shows_a_new_key(session):
    said = "\n".join(session.answers)

    assert "reelseek_request_seconds" in said
    assert "rotate_key" in said
    assert found_in(said, session.secrets) == []


def test_no_file_of_the_data_folder_holds_a_secret_that_was_given_out(session):
    for path in session.live.data_dir.rglob("*"):
        if path.is_file():
            assert found_in(path.read_bytes().decode("latin-1"), session.secrets) == [], path


def test_every_line_of_the_log_is_json(session):
    lines = [line for line in session.live.output.splitlines() if line.startswith("{")]

    assert len(lines) > 20
    assert all(json.loads(line)["event"] for line in lines)
