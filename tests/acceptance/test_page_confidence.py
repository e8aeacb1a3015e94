"""The page says when nothing matches, and shows the closest moments to who wants them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from model.calibration import write_calibration
from model.retrieval import Calibration
from tests.acceptance.browsing import PAGE_S, browsing, click, texts
from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_video import make_video

BUNDLED = Path(__file__).parents[2] / "model" / "bundled"
NOISE = Calibration(slope=0.0, bias=-3.0, confident_probability=0.4)
"""Takes every hit for noise."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    bundle = Path(shutil.copytree(BUNDLED, tmp_path / "bundle"))
    write_calibration(bundle, NOISE)
    live = LiveService(
        tmp_path / "data", {"REELSEEK_BUNDLE": str(bundle), "REELSEEK_SEARCH_DEADLINE_MS": "60000"}
    )
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    with browsing(tmp_path / "profile") as chrome:
        yield chrome


def test_noise_is_shown_only_to_who_asks_for_it(
    service: LiveService, browser: Chrome, tmp_path: Path
) -> None:
    with service.client() as client:
        answer = upload(client, make_video(tmp_path / "holiday.mp4", seconds=4))
        wait_until_processed(client, answer["id"])
    browser.get(service.login_link)
    query = browser.find_element(By.ID, "query")
    wait_for(query.is_displayed, within_s=PAGE_S, what="signing in")
    query.send_keys("a zebra on a bicycle", Keys.ENTER)
    wait_for(
        lambda: "No confident match for “a zebra on a bicycle”" in status(browser),
        within_s=PAGE_S,
        what="no confident match",
    )
    assert texts(browser, "#moments article") == []
    click(browser, "#show-closest")
    wait_for(
        lambda: texts(browser, "#moments article"), within_s=PAGE_S, what="the closest moments"
    )
    assert "These are the closest moments" in status(browser)
    assert not browser.find_element(By.ID, "show-closest").is_displayed()


def status(browser: Chrome) -> str:
    return browser.find_element(By.ID, "search-status").text
