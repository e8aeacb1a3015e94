"""The places of the page in headless Chromium: captions, feedback, explain, tuning, models, sets.

One service and one browser for all; each test makes what it looks at, or asks a fixture for it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.acceptance.browsing import (
    OVERFLOW,
    PAGE_S,
    appear,
    browsing,
    click,
    go,
    nameless,
    text,
    texts,
)
from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_captioned import captions_of
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video

NUM_VIDEOS = 4
WORK_S = 240.0
"""For what a worker does: it starts a process that trains."""

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    environment = {"REELSEEK_BUNDLE": str(bundle), "REELSEEK_DEVICE": "cpu"}
    live = LiveService(tmp_path_factory.mktemp("places"), environment)
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.fixture(scope="module")
def videos(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ids of searchable videos with two captions each; their titles are `clip 0`, `clip 1`, ..."""
    folder = tmp_path_factory.mktemp("videos")
    with service.client() as client:
        found = [
            upload(client, make_video(folder / f"clip {number}.mp4", seed=number))["id"]
            for number in range(NUM_VIDEOS)
        ]
        for number, video_id in enumerate(found):
            wait_until_processed(client, video_id)
            for text in captions_of(number):
                said = client.post(f"/v1/videos/{video_id}/captions", json={"text": text})
                said.raise_for_status()
    return [str(video_id) for video_id in found]


@pytest.fixture(scope="module")
def browser(
    service: LiveService,
    videos: list[str],  # noqa: ARG001 (the page lists them)
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Chrome]:
    """A browser that is signed in."""
    with browsing(tmp_path_factory.mktemp("profile")) as chrome:
        chrome.get(service.login_link)
        app = chrome.find_element(By.ID, "app")
        wait_for(app.is_displayed, within_s=PAGE_S, what="signing in")
        yield chrome


@pytest.fixture(scope="module")
def tuned(browser: Chrome) -> str:
    """The page at a run that was asked for there, followed until its report; what it shows."""
    go(browser, "tuning")
    wait_for(lambda: "caption" in text(browser, "#tuning-counts"), within_s=PAGE_S, what="captions")
    click(browser, "#tuning-form summary")
    Select(browser.find_element(By.NAME, "hold_out")).select_by_value("captions")
    fill(browser, steps="4", batch="2", name="mine", held_out_percent="50")
    click(browser, "#tuning-start")
    appear(browser, "#tuning-run progress", "the progress of the run")
    appear(browser, "#tuning-run .run-plot path", "the losses, while it runs", within_s=WORK_S)
    appear(browser, "#tuning-run .report .verdict", "the report", within_s=WORK_S)
    return text(browser, "#tuning-run")


@pytest.fixture(scope="module")
def evaluated(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Chrome:
    """The page at a set of queries that was made there and run once."""
    file = tmp_path_factory.mktemp("sets") / "queries.csv"
    lines = [f"{captions_of(number)[0]},clip {number}" for number in range(NUM_VIDEOS)]
    file.write_text("\n".join(["text,video", *lines]))
    go(browser, "evaluation")
    form = browser.find_element(By.ID, "set-form")
    form.find_element(By.NAME, "name").send_keys("what I look for")
    form.find_element(By.NAME, "file").send_keys(str(file))
    form.find_element(By.TAG_NAME, "button").click()
    click(browser, "#run-set")
    wait_for(lambda: len(history(browser)) == 1, within_s=WORK_S, what="the first run")
    return browser


def test_captions_are_added_imported_and_deleted(
    browser: Chrome, service: LiveService, videos: list[str], tmp_path: Path
) -> None:
    open_captions(browser, "clip 0")
    wait_for(lambda: len(captions(browser)) == 2, within_s=PAGE_S, what="its captions")
    fill(browser, "#caption-form", text="a <b>red</b> circle waves", start_s="0.5", end_s="1.5")
    browser.find_element(By.CSS_SELECTOR, "#caption-form [name=text]").send_keys(Keys.ENTER)
    wait_for(lambda: len(captions(browser)) == 3, within_s=PAGE_S, what="the new caption")
    assert "a <b>red</b> circle waves" in captions(browser)[0]

    file = tmp_path / "captions.csv"
    file.write_text("video,text\nclip 0,a circle says goodbye\nnobody,nothing\n")
    browser.find_element(By.ID, "caption-file").send_keys(str(file))
    problems = appear(browser, "#caption-files .problems li", "the line that is wrong")
    assert "nobody" in problems[0]
    click(browser, "#caption-files .told button")  # take the other lines
    wait_for(lambda: len(captions(browser)) == 4, within_s=PAGE_S, what="the imported caption")

    click(browser, "#caption-list button")
    wait_for(lambda: len(captions(browser)) == 3, within_s=PAGE_S, what="the deletion")
    click(browser, "#captions-close")
    with service.client() as client:
        kept = client.get(f"/v1/videos/{videos[0]}/captions").json()["captions"]
    assert len(kept) == 3


def test_a_hit_is_judged_and_the_judgement_taken_back(
    browser: Chrome, service: LiveService
) -> None:
    search(browser, "a red circle")
    click(browser, "#moments li:nth-child(1) .feedback .actions button")
    wait_for(lambda: "Marked as right" in hit(browser, 1), within_s=PAGE_S, what="the answer")
    click(browser, "#moments li:nth-child(2) .feedback .actions button:nth-child(3)")
    click(browser, "#moments li:nth-child(3) .pick")
    with service.client() as client:
        wait_for(
            lambda: len(client.get("/v1/feedback").json()["feedback"]) == 2,
            within_s=PAGE_S,
            what="the choice",
        )
        given = client.get("/v1/feedback").json()["feedback"]
    assert [one["verdict"] for one in given] == ["instead", "right"]
    assert given[0]["instead"]["video_id"] == moment(browser, 3)
    assert given[1]["receipt"]["generation_id"]

    click(browser, "#moments li:nth-child(1) .feedback .told button")
    wait_for(lambda: "Taken back" in hit(browser, 1), within_s=PAGE_S, what="the undoing")
    with service.client() as client:
        assert len(client.get("/v1/feedback").json()["feedback"]) == 1


def test_a_video_is_explained(browser: Chrome) -> None:
    search(browser, "a blue triangle")
    click(browser, "#missing > summary")
    titles = appear(browser, "#missing-video option:nth-child(2)", "the list of videos")
    Select(browser.find_element(By.ID, "missing-video")).select_by_visible_text(titles[0])
    click(browser, "#missing-form button")
    rows = appear(browser, "#explanation tr", "the explanation")
    assert any(row.startswith("Place by similarity") for row in rows)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#explanation rect")) == 3  # frames
    assert "is shown as number" in text(browser, "#explanation")


def test_a_run_is_followed_until_its_report(tuned: str, browser: Chrome) -> None:
    assert "mine" in tuned
    assert "There is not enough to tell." in tuned
    assert "Before" in tuned
    assert "95 % interval" in tuned
    go(browser, "tuning")
    assert any("mine" in run and "Done" in run for run in appear(browser, "#tunings li", "runs"))


def test_an_evaluation_run_is_in_the_history(evaluated: Chrome) -> None:
    assert len(evaluated.find_elements(By.CSS_SELECTOR, "#set .plot circle")) == 2  # both streams
    assert "by hand" in history(evaluated)[0]
    click(evaluated, "#set tbody button")
    answers = appear(evaluated, "#run-answers tbody tr", "the answers")
    assert len(answers) == NUM_VIDEOS


@pytest.mark.usefixtures("tuned", "evaluated")
def test_a_model_takes_over_and_the_first_comes_back(browser: Chrome) -> None:
    go(browser, "models")
    first = appear(browser, "#models [data-state=active] h3", "the models")[0]
    click(browser, "#models [data-state=candidate] button")
    wait_for(lambda: active(browser) == ["mine"], within_s=WORK_S, what="the switch")
    assert "Canary passed" in browser.execute_script(
        "return document.querySelector('#activations').textContent"
    )
    wait_for(lambda: "mine" in text(browser, "#system"), within_s=PAGE_S, what="its name on top")
    click(browser, "#models [data-state=kept] button")
    wait_for(lambda: active(browser) == [first], within_s=WORK_S, what="going back")

    go(browser, "evaluation")
    click(browser, "#sets a")
    after = wait_for(
        lambda: [row for row in history(browser) if "after a switch" in row],
        within_s=WORK_S,
        what="the run after the switch",
    )
    assert after


@pytest.mark.usefixtures("tuned", "evaluated")
@pytest.mark.parametrize("place", ["", "tuning", "models", "evaluation"])
def test_each_place_has_names_and_fits_a_phone(browser: Chrome, place: str) -> None:
    browser.get_log("browser")
    browser.set_window_size(390, 844)
    go(browser, place)
    if place in {"tuning", "evaluation"}:
        click(browser, "#tunings a" if place == "tuning" else "#sets a")
        appear(browser, "#tuning-run .report" if place == "tuning" else "#set figure", "detail")
    overflow = browser.execute_script(OVERFLOW)
    without = wait_for(lambda: nameless(browser), within_s=PAGE_S, what="controls that stay")
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.set_window_size(1200, 1400)
    assert overflow == 0
    assert without == {None}
    assert severe == []


def fill(browser: Chrome, form: str = "#tuning-form", **values: str) -> None:
    for name, value in values.items():
        browser.find_element(By.CSS_SELECTOR, f"{form} [name={name}]").send_keys(value)


def search(browser: Chrome, words: str) -> None:
    go(browser, "")
    query = browser.find_element(By.ID, "query")
    query.clear()
    query.send_keys(words, Keys.ENTER)
    wait_for(
        lambda: f"“{words}”" in text(browser, "#search-status"), within_s=PAGE_S, what="the search"
    )


def open_captions(browser: Chrome, title: str) -> None:
    go(browser, "")
    click(browser, f"#videos [aria-label='Captions {title}']")
    dialog = browser.find_element(By.ID, "captions")
    wait_for(dialog.is_displayed, within_s=PAGE_S, what="the dialog")


def captions(browser: Chrome) -> list[str]:
    return texts(browser, "#caption-list li")


def hit(browser: Chrome, place: int) -> str:
    return text(browser, f"#moments li:nth-child({place})")


def moment(browser: Chrome, place: int) -> str | None:
    article = browser.find_element(By.CSS_SELECTOR, f"#moments li:nth-child({place}) article")
    return article.get_attribute("data-video")


def active(browser: Chrome) -> list[str]:
    return texts(browser, "#models [data-state=active] h3")


def history(browser: Chrome) -> list[str]:
    return texts(browser, "#set tbody tr:has(time)")
