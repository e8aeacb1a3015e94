"""The page in headless Chromium: sign in, upload, search, play, edit, delete."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.acceptance.browsing import PAGE_S, appear, browsing, click, texts
from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_video import make_video

POSITION = "const v = arguments[0]; return v.readyState >= 2 ? v.currentTime || null : null"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    live = LiveService(tmp_path_factory.mktemp("page"))
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browsing(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def signed_in(browser: Chrome, service: LiveService) -> Chrome:
    browser.get(service.login_link)
    wait_for(
        lambda: browser.find_element(By.ID, "app").is_displayed(),
        within_s=PAGE_S,
        what="signing in",
    )
    return browser


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [
        make_video(folder / f"holiday {number}.mp4", seconds=10, seed=number) for number in range(2)
    ]


@pytest.fixture(scope="module")
def with_videos(signed_in: Chrome, videos: list[Path]) -> Chrome:
    """The page after both videos were uploaded through it."""
    signed_in.find_element(By.ID, "files").send_keys("\n".join(map(str, videos)))
    wait_for(
        lambda: len(texts(signed_in, "#videos .state[data-state=ready]")) == len(videos),
        within_s=120,
        what="both uploads becoming searchable",
    )
    return signed_in


def search(browser: Chrome, text: str) -> list[WebElement]:
    query = browser.find_element(By.ID, "query")
    query.clear()
    query.send_keys(text, Keys.ENTER)
    return wait_for(
        lambda: (
            f"“{text}”" in browser.find_element(By.ID, "search-status").text
            and browser.find_elements(By.CSS_SELECTOR, "#moments article")
        ),
        within_s=PAGE_S,
        what=f"the moments for {text}",
    )


def test_the_login_link_signs_in_and_leaves_no_secret_in_the_address(
    signed_in: Chrome, service: LiveService
) -> None:
    assert "login" not in signed_in.current_url
    assert signed_in.current_url.startswith(service.url)


def test_the_example_is_one_that_the_bundled_model_understands(signed_in: Chrome) -> None:
    asked = signed_in.find_element(By.ID, "query").get_attribute("placeholder")
    assert asked is not None
    assert "a green star falls down" in asked


def test_a_link_works_only_once(signed_in: Chrome, service: LiveService) -> None:
    token = service.login_link.split("login=")[1]
    with service.client() as client:
        assert client.post("/v1/session", json={"token": token}).status_code == 401
    assert signed_in.find_element(By.ID, "app").is_displayed()


def test_an_uploaded_video_is_listed_with_its_facts(with_videos: Chrome) -> None:
    assert sorted(texts(with_videos, "#videos h3")) == ["holiday 0", "holiday 1"]
    assert all("0:10" in line for line in texts(with_videos, "#videos .video p.quiet"))


def test_a_moment_plays_from_its_first_second(with_videos: Chrome) -> None:
    cards = search(with_videos, "a red circle moves from left to right")
    later = next(card for card in cards if not card.text.startswith("▶ 0:00"))
    frame = later.find_element(By.CSS_SELECTOR, "button.frame")
    start_s = seconds_of(frame.get_attribute("aria-label") or "")
    frame.click()
    video = wait_for(
        lambda: later.find_elements(By.CSS_SELECTOR, "video"), within_s=PAGE_S, what="the player"
    )[0]
    position = wait_for(
        lambda: with_videos.execute_script(
            POSITION,
            video,
        ),
        within_s=PAGE_S,
        what="playing",
    )
    assert start_s > 0
    assert start_s <= position < start_s + 4.5


def seconds_of(label: str) -> int:
    """Return the 4 in a label that begins with `Play 0:04`."""
    minutes, seconds = re.findall(r"\d+", label)[:2]
    return int(minutes) * 60 + int(seconds)


def test_a_refused_file_says_why_and_can_be_dismissed(with_videos: Chrome, tmp_path: Path) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("these are notes, not a video")
    with_videos.find_element(By.ID, "files").send_keys(str(bad))
    error = wait_for(
        lambda: with_videos.find_elements(By.CSS_SELECTOR, "#uploads .error"),
        within_s=PAGE_S,
        what="the refusal",
    )[0]
    assert "video" in error.text
    with_videos.find_element(By.CSS_SELECTOR, "#uploads button").click()
    assert texts(with_videos, "#uploads li") == []


def test_the_page_is_driven_by_the_keyboard_alone(with_videos: Chrome) -> None:
    with_videos.find_element(By.TAG_NAME, "body").click()
    ActionChains(with_videos).send_keys("/").perform()
    assert with_videos.switch_to.active_element.get_attribute("id") == "query"
    cards = search(with_videos, "something grows")
    frame = cards[0].find_element(By.CSS_SELECTOR, "button.frame")
    for _ in range(30):
        ActionChains(with_videos).send_keys(Keys.TAB).perform()
        if with_videos.switch_to.active_element == frame:
            break
    assert with_videos.switch_to.active_element == frame
    ActionChains(with_videos).send_keys(Keys.ENTER).perform()
    wait_for(
        lambda: cards[0].find_elements(By.CSS_SELECTOR, "video"), within_s=PAGE_S, what="the player"
    )


def test_a_title_that_is_html_is_shown_as_text(
    with_videos: Chrome, service: LiveService, videos: list[Path]
) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    with service.client() as client:
        first = client.get("/v1/videos").json()["videos"][0]
        client.patch(f"/v1/videos/{first['id']}", json={"title": hostile}).raise_for_status()
        with_videos.refresh()
        wait_for(
            lambda: hostile in texts(with_videos, "#videos h3"), within_s=PAGE_S, what="the title"
        )
        client.patch(f"/v1/videos/{first['id']}", json={"title": first["title"]})
    assert len(videos) == len(texts(with_videos, "#videos h3"))


def test_title_and_tags_can_be_edited(with_videos: Chrome, service: LiveService) -> None:
    with_videos.refresh()
    appear(with_videos, "#moments article", "what the address asks for")  # it moves all below
    click(with_videos, "#videos [data-action=edit]")
    title = with_videos.find_element(By.CSS_SELECTOR, "#edit-form [name=title]")
    title.clear()
    title.send_keys("At the sea")
    with_videos.find_element(By.CSS_SELECTOR, "#edit-form [name=tags]").send_keys("sea, 2026")
    with_videos.find_element(By.CSS_SELECTOR, "#edit-form [value=save]").click()
    wait_for(
        lambda: "At the sea" in texts(with_videos, "#videos h3"), within_s=PAGE_S, what="the title"
    )
    with service.client() as client:
        tagged = client.get("/v1/videos", params={"tag": "sea"}).json()["videos"]
    assert [video["title"] for video in tagged] == ["At the sea"]


def test_the_page_logs_no_error_and_fits_a_phone(with_videos: Chrome) -> None:
    with_videos.get_log("browser")  # what refused uploads and tokens logged before
    with_videos.set_window_size(375, 800)
    with_videos.refresh()
    wait_for(
        lambda: with_videos.find_element(By.ID, "app").is_displayed(), within_s=PAGE_S, what="it"
    )
    search(with_videos, "a blue square")
    width = with_videos.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    severe = [entry for entry in with_videos.get_log("browser") if entry["level"] == "SEVERE"]
    with_videos.set_window_size(1200, 1400)
    assert width == 0
    assert severe == []


def test_every_control_has_a_name(with_videos: Chrome) -> None:
    nameless = [
        control.get_attribute("outerHTML")
        for control in with_videos.find_elements(By.CSS_SELECTOR, "button, input, select, a, meter")
        if control.is_displayed() and not control.accessible_name
    ]
    assert nameless == []


def test_a_deleted_video_is_gone_from_list_and_search(
    with_videos: Chrome, service: LiveService, videos: list[Path]
) -> None:
    search(with_videos, "a green ring")
    click(with_videos, "#videos [data-action=delete]")
    click(with_videos, "#confirm-yes")
    wait_for(
        lambda: len(texts(with_videos, "#videos h3")) == len(videos) - 1,
        within_s=PAGE_S,
        what="the deletion",
    )
    with service.client() as client:
        left = {video["id"] for video in client.get("/v1/videos").json()["videos"]}
        again = upload(client, videos[0])
        wait_until_processed(client, again["id"])
    shown = {
        card.get_attribute("data-video")
        for card in with_videos.find_elements(By.CSS_SELECTOR, "#moments article")
    }
    assert shown <= left
