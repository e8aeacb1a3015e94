"""Uploads in headless Chromium over a line that is slow and breaks: they go on where they were."""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service import access
from tests.acceptance.api_server import ApiServer, send_video
from tests.acceptance.browsing import PAGE_S, browsing, click, sign_in, text, texts
from tests.acceptance.live import wait_for
from tests.breakable_line import BreakableLine
from tests.factories_video import make_video

SIZE = 12_000_000
BYTES_PER_S = 2_500_000.0
"""Of the slow line; the browser shows how much it has sent well before the end."""
NO_FILE = """
const done = arguments[0];
indexedDB.open("reelseek").onsuccess = ({target: {result: database}}) => {
  const store = database.transaction("uploads", "readwrite").objectStore("uploads");
  store.getAll().onsuccess = ({target: {result: [record]}}) => {
    store.put({...record, file: null}).onsuccess = () => { database.close(); done(); };
  };
};
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browsing(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A short video in a large file: what follows it is a box that readers skip."""
    path = make_video(tmp_path / "large.mp4", seconds=2)
    with path.open("ab") as file:
        rest = SIZE - path.stat().st_size
        file.write(struct.pack(">I4s", rest, b"free") + bytes(rest - 8))
    return path


@pytest.fixture
def open_page(browser: Chrome, make_api: Callable[..., ApiServer]):
    """Open the page of an API of its own, with settings of its own, over a slow line."""

    @contextmanager
    def open_page(**options: object) -> Iterator[tuple[ApiServer, BreakableLine]]:
        api = make_api(**options)
        api.wait_until_ready()
        with BreakableLine(api.port, bytes_per_s=BYTES_PER_S).running() as line:
            token = access.make_login_token(api.state.sessions, ttl_s=60)
            sign_in(browser, f"{line.url}/#login={token}")
            yield api, line
            browser.get("about:blank")

    return open_page


def test_an_upload_goes_on_where_the_connection_broke(browser, open_page, video) -> None:
    with open_page() as (api, line):
        choose(browser, video)
        wait_until_sent(browser, 0.5)
        line.break_off()
        wait_until_told(browser, "It goes on by itself in")
        line.mend()
        wait_until_uploaded(api, [video])
        assert line.num_sent < 1.4 * SIZE
        wait_for(lambda: not texts(browser, "#uploads li"), within_s=PAGE_S, what="an empty list")


def test_an_upload_goes_on_by_itself_after_a_reload(browser, open_page, video) -> None:
    with open_page() as (api, line):
        choose(browser, video)
        wait_until_sent(browser, 0.5)
        browser.refresh()
        wait_until_sent(browser, 0.5)
        wait_until_uploaded(api, [video])
        assert line.num_sent < 1.4 * SIZE


def test_a_file_that_was_not_kept_is_chosen_again_and_goes_on(browser, open_page, video) -> None:
    with open_page() as (api, line):
        choose(browser, video)
        wait_until_sent(browser, 0.5)
        click(browser, "#uploads button[aria-label^=Pause]")
        browser.execute_async_script(NO_FILE)
        browser.refresh()
        wait_until_told(browser, "Choose the same file again")
        choose(browser, video)
        wait_until_uploaded(api, [video])
        assert line.num_sent < 1.4 * SIZE


def test_an_upload_is_paused_goes_on_and_is_cancelled(browser, open_page, video) -> None:
    with open_page() as (api, _):
        choose(browser, video)
        wait_until_sent(browser, 0.1)
        click(browser, "#uploads button[aria-label^=Pause]")
        wait_until_told(browser, "Paused at")
        click(browser, "#uploads button[aria-label^='Go on']")
        wait_until_sent(browser, 0.4)
        click(browser, "#uploads button[aria-label^=Cancel]")
        wait_until_told(browser, "Cancelled")
        kept = api.settings.data_dir / "uploads"
        wait_for(
            lambda: not any(files for _, _, files in os.walk(kept)),
            within_s=PAGE_S,
            what="the end of its pieces",
        )
        click(browser, "#uploads button[aria-label^=Dismiss]")
        assert texts(browser, "#uploads li") == []
        browser.refresh()
        app = browser.find_element(By.ID, "app")
        wait_for(app.is_displayed, within_s=PAGE_S, what="the page")
        assert texts(browser, "#uploads li") == []


def test_several_files_are_uploaded_and_a_known_one_recognised(
    browser, open_page, tmp_path
) -> None:
    videos = [make_video(tmp_path / f"clip {number}.mp4", seed=number) for number in range(3)]
    with open_page() as (api, _):
        choose(browser, *videos)
        wait_until_uploaded(api, videos)
        choose(browser, videos[0])
        wait_until_told(browser, "Already here")
        wait_until_uploaded(api, videos)


def test_a_full_queue_is_said_and_waited_out(browser, open_page, video, video_bytes) -> None:
    with open_page(jobs_waiting=1) as (api, _):
        with api.client() as client:
            first = send_video(client, video_bytes).json()
        choose(browser, video)
        wait_until_told(browser, "It goes on by itself in")
        said = text(browser, "#uploads li")
        api.ingest(first)
        wait_until_uploaded(api, [video])
    assert "wait" in said


def test_a_used_up_quota_says_when_it_goes_on(browser, open_page, video) -> None:
    with open_page(quota_upload_bytes_per_day=SIZE - 1):
        choose(browser, video)
        wait_until_told(browser, "It goes on by itself in about")
        click(browser, "#uploads button[aria-label^=Cancel]")
        wait_until_told(browser, "Cancelled")


def test_signing_out_ends_uploads_and_leaves_no_file_in_the_browser(
    browser, open_page, video
) -> None:
    with open_page() as (api, _):
        choose(browser, video)
        wait_until_sent(browser, 0.1)
        click(browser, "#sign-out")
        token = browser.find_element(By.ID, "token")
        wait_for(token.is_displayed, within_s=PAGE_S, what="the page without anybody")
        kept = browser.execute_async_script(
            "const done = arguments[0];"
            "indexedDB.open('reelseek').onsuccess = ({target: {result}}) => result"
            ".transaction('uploads').objectStore('uploads').count().onsuccess"
            " = ({target}) => done(target.result)"
        )
        assert kept == 0
        assert uploaded(api) == set()


def choose(browser: Chrome, *paths: Path) -> None:
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, paths)))


def wait_until_sent(browser: Chrome, share: float) -> None:
    script = "return document.querySelector('#uploads progress')?.value ?? 0"
    wait_for(
        lambda: browser.execute_script(script) >= share * SIZE,
        within_s=PAGE_S,
        what=f"{share} of the file",
    )


def wait_until_told(browser: Chrome, words: str) -> None:
    wait_for(lambda: words in text(browser, "#uploads li"), within_s=PAGE_S, what=words)


def wait_until_uploaded(api: ApiServer, paths: list[Path]) -> None:
    """Wait until exactly these files are there, byte by byte."""
    expected = {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    wait_for(lambda: uploaded(api) >= expected, within_s=PAGE_S, what="the uploads")


def uploaded(api: ApiServer) -> set[str]:
    with api.client() as client:
        found = client.get("/v1/videos").json()["videos"]
        return {
            hashlib.sha256(client.get(video["links"]["content"]).content).hexdigest()
            for video in found
        }
