"""What administrators look after on the page, in headless Chromium."""

import json
from collections.abc import Iterator

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests.acceptance.browsing import (
    OVERFLOW,
    PAGE_S,
    appear,
    browsing,
    click,
    go,
    nameless,
    sign_in,
    text,
    texts,
)
from tests.acceptance.live import LiveService, wait_for
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.hostile_servers import OtherServer, content, running_server, trickle

WORK_S = 120.0
"""For what the courier does."""
PARTS = ("imports", "settings/keys", "settings/webhooks", "settings/audit", "settings/installation")


@pytest.fixture(scope="module")
def server() -> Iterator[OtherServer]:
    """A server of somebody else, that is told of events and has something to fetch."""
    with running_server({"/hook": content(b""), "/endless.mp4": trickle()}) as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "import").mkdir()
    make_video(folder / "import" / "sea.mp4", seconds=2)
    (folder / "import" / "notes.mp4").write_text("these are notes, not a video")
    environment = {
        "REELSEEK_BUNDLE": str(make_tiny_bundle(folder / "bundle")),
        "REELSEEK_DEVICE": "cpu",
        "REELSEEK_IMPORT_DIR": str(folder / "import"),
        "REELSEEK_OUTBOUND_ALLOW": "127.0.0.1",
    }
    live = LiveService(folder / "data", environment)
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.fixture(scope="module")
def browser(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that is signed in."""
    with browsing(tmp_path_factory.mktemp("profile")) as chrome:
        sign_in(chrome, service.login_link)
        yield chrome


def test_a_key_is_made_shown_once_rotated_and_revoked(
    browser: Chrome, service: LiveService
) -> None:
    go(browser, "settings/keys")
    form = browser.find_element(By.ID, "key-form")
    form.find_element(By.NAME, "name").send_keys("player")
    form.find_element(By.CSS_SELECTOR, "[value=write]").click()
    Select(form.find_element(By.NAME, "life")).select_by_value("30 days")
    form.find_element(By.CSS_SELECTOR, ".actions button").click()
    key = read_secret(browser)
    assert scopes_of(service, key) == ["read", "search", "write"]
    assert key not in browser.page_source
    row = wait_for(lambda: row_of(browser, "player"), within_s=PAGE_S, what="the key")
    assert "ends" in row

    click(browser, "#place-settings [aria-label='Rotate player']")
    click(browser, "#confirm-yes")
    second = read_secret(browser)
    assert second != key
    assert scopes_of(service, second) == scopes_of(service, key)  # for a day both work
    wait_for(lambda: num_rows(browser, "player") == 2, within_s=PAGE_S, what="both keys")

    for left in (1, 0):
        click(browser, "#place-settings [aria-label='Revoke player']")
        click(browser, "#confirm-yes")
        wait_for(
            lambda: num_rows(browser, "player") == left,  # noqa: B023 (looked at in this round)
            within_s=PAGE_S,
            what="the revocation",
        )
    assert scopes_of(service, second) is None


def test_a_refused_key_says_why(browser: Chrome) -> None:
    go(browser, "settings/keys")
    form = browser.find_element(By.ID, "key-form")
    form.find_element(By.NAME, "name").send_keys("nothing")
    for box in form.find_elements(By.CSS_SELECTOR, "[name=scopes]:checked"):
        box.click()
    form.find_element(By.CSS_SELECTOR, ".actions button").click()
    error = "#place-settings > .error"
    wait_for(lambda: text(browser, error), within_s=PAGE_S, what="the refusal")
    assert not browser.find_element(By.ID, "secret").is_displayed()


def test_a_webhook_is_made_tested_disabled_and_deleted(
    browser: Chrome, server: OtherServer
) -> None:
    go(browser, "settings/webhooks")
    form = browser.find_element(By.ID, "webhook-form")
    form.find_element(By.NAME, "url").send_keys(f"{server.url}/hook")
    form.find_element(By.CSS_SELECTOR, "[value='video.ready']").click()
    form.find_element(By.CSS_SELECTOR, ".actions button").click()
    assert read_secret(browser).startswith("whsec_")
    assert "Enabled" in appear(browser, "[data-webhook]", "the webhook")[0]

    click(browser, "[data-webhook] [aria-label^='Send a test']")
    wait_for(
        lambda: "Delivered" in text(browser, "#place-settings td"), within_s=WORK_S, what="the test"
    )
    assert "webhook.test" in text(browser, "#place-settings tbody")
    told = [json.loads(body)["type"] for _, path, _, body in server.seen if path == "/hook"]
    assert told == ["webhook.test"]

    click(browser, "#place-settings [aria-label^=Disable]")
    appear(browser, "#place-settings [aria-label^='Enable again']", "the way back")
    click(browser, "#place-settings [aria-label^='Enable again']")
    appear(browser, "#place-settings [aria-label^=Disable]", "that it is enabled")
    click(browser, "#place-settings [aria-label^=Delete]")
    click(browser, "#confirm-yes")
    wait_for(
        lambda: "None yet." in texts(browser, "#place-settings .rows li"),
        within_s=PAGE_S,
        what="the deletion",
    )


def test_a_webhook_that_is_away_is_shown_as_such(
    browser: Chrome, server: OtherServer, service: LiveService
) -> None:
    server.routes["/away"] = lambda exchange: exchange.send(503)
    with service.client() as client:
        made = client.post("/v1/webhooks", json={"url": f"{server.url}/away"}).json()
        here = f"/v1/webhooks/{made['id']}"
        client.post(f"{here}/test").raise_for_status()
        wait_for(
            lambda: client.get(here).json()["failing_since"], within_s=WORK_S, what="the failure"
        )
        try:
            go(browser, "settings/keys")
            go(browser, "settings/webhooks")
            away = appear(browser, "[data-webhook] .error", "that it is away")
            assert away[0].startswith("It is away since ")
            click(browser, "[data-webhook] a")
            shown = "#place-settings p.error"
            wait_for(lambda: "tried again" in text(browser, shown), within_s=PAGE_S, what="how")
        finally:
            client.delete(here).raise_for_status()


def test_a_folder_is_imported_and_each_file_accounted_for(browser: Chrome) -> None:
    start_import(browser, "folder", ".", tags="archive")
    wait_for(
        lambda: "1 taken" in (counts := text(browser, "#import-counts")) and "1 refused" in counts,
        within_s=WORK_S,
        what="the import",
    )
    wait_for(lambda: "Waiting" not in files(browser), within_s=PAGE_S, what="the files")
    rows = texts(browser, "#place-imports tbody tr")
    assert any("sea.mp4" in row and "Taken" in row for row in rows)
    assert any("notes.mp4" in row and "no video" in row for row in rows)

    go(browser, "imports")
    assert "Folder" in appear(browser, "#imports li", "the list")[0]
    go(browser, "")
    wait_for(lambda: "sea" in texts(browser, "#videos h3"), within_s=PAGE_S, what="the video")
    assert "archive" in text(browser, "#videos .tag")


def test_an_import_by_addresses_is_cancelled(browser: Chrome, server: OtherServer) -> None:
    start_import(browser, "urls", f"{server.url}/missing.mp4\n{server.url}/endless.mp4")
    wait_for(
        lambda: "1 refused" in text(browser, "#import-counts"), within_s=WORK_S, what="the refusal"
    )
    wait_for(lambda: "404" in files(browser), within_s=PAGE_S, what="the reason")
    click(browser, "#place-imports section > div > button")  # drawn anew with each event
    wait_for(
        lambda: "Cancelled" in texts(browser, "#place-imports .state"),
        within_s=WORK_S,
        what="the end",
    )


def test_a_refused_import_says_why(browser: Chrome) -> None:
    start_import(browser, "folder", "../secrets")
    error = "#place-imports > .error"
    wait_for(lambda: text(browser, error), within_s=PAGE_S, what="the refusal")
    assert "folder" in text(browser, error)


def test_the_audit_log_is_paged_and_narrowed_down(browser: Chrome, service: LiveService) -> None:
    with service.client() as client:
        for number in range(55):
            body = {"name": f"key {number}", "scopes": ["read"]}
            made = client.post("/v1/keys", json=body).raise_for_status().json()
            client.delete(f"/v1/keys/{made['id']}").raise_for_status()
    go(browser, "settings/audit")
    rows = "#place-settings tbody tr"
    wait_for(lambda: len(texts(browser, rows)) == 50, within_s=PAGE_S, what="the first page")
    browser.find_element(By.XPATH, "//div[@id='place-settings']//button[.='Older ones']").click()
    wait_for(lambda: len(texts(browser, rows)) == 100, within_s=PAGE_S, what="the second page")

    browser.find_element(By.CSS_SELECTOR, "#audit-form [name=action]").send_keys("create_key")
    browser.find_element(By.CSS_SELECTOR, "#audit-form button").click()
    wait_for(
        lambda: {row.split("\t")[1] for row in texts(browser, rows)} == {"create_key"},
        within_s=PAGE_S,
        what="the narrowed list",
    )


def test_the_installation_says_how_it_searches_and_what_it_accepts(browser: Chrome) -> None:
    go(browser, "settings/installation")
    rows = appear(browser, "#place-settings tbody tr", "the facts")
    assert any(row.startswith("Index") and "scans every segment" in row for row in rows)
    assert any(row.startswith("Recall") and "100 %" in row for row in rows)
    assert any(row.startswith("Largest file") and "GB" in row for row in rows)


@pytest.mark.parametrize("place", PARTS)
def test_each_part_has_names_and_fits_a_phone(browser: Chrome, place: str) -> None:
    browser.get_log("browser")
    browser.set_window_size(390, 844)
    go(browser, place)
    overflow = browser.execute_script(OVERFLOW)
    without = wait_for(lambda: nameless(browser), within_s=PAGE_S, what="controls that stay")
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.set_window_size(1200, 1400)
    assert overflow == 0
    assert without == {None}
    assert severe == []


def read_secret(browser: Chrome) -> str:
    """Read the secret that is shown, and close its dialog."""
    dialog = browser.find_element(By.ID, "secret")
    wait_for(dialog.is_displayed, within_s=PAGE_S, what="the secret")
    secret = browser.find_element(By.ID, "secret-value").get_attribute("value") or ""
    click(browser, "#secret-copy")
    wait_for(lambda: text(browser, "#secret-told"), within_s=PAGE_S, what="that it was copied")
    click(browser, "#secret .buttons button")
    wait_for(lambda: not dialog.is_displayed(), within_s=PAGE_S, what="the end of the dialog")
    assert browser.find_element(By.ID, "secret-value").get_attribute("value") == ""
    return secret


def scopes_of(service: LiveService, key: str) -> list[str] | None:
    """Return what a key may do; None if it is refused."""
    answer = httpx.get(
        f"{service.url}/v1/session", headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    return answer.json()["scopes"] if answer.is_success else None


def files(browser: Chrome) -> str:
    return text(browser, "#place-imports tbody")


def num_rows(browser: Chrome, name: str) -> int:
    return sum(row.startswith(name) for row in texts(browser, "[data-key]"))


def row_of(browser: Chrome, name: str) -> str | None:
    return next((row for row in texts(browser, "[data-key]") if row.startswith(name)), None)


def start_import(browser: Chrome, kind: str, what: str, *, tags: str = "") -> None:
    go(browser, "imports")
    form = browser.find_element(By.ID, "import-form")
    Select(form.find_element(By.NAME, "kind")).select_by_value(kind)
    form.find_element(By.NAME, "what").send_keys(what)
    form.find_element(By.NAME, "tags").send_keys(tags)
    form.find_element(By.CSS_SELECTOR, ".actions button").click()
