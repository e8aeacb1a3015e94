"""A headless Chromium, and what tests of the page do with it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from tests.acceptance.live import wait_for

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1200,1400",
)
PAGE_S = 60.0
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@contextmanager
def browsing(profile: Path) -> Iterator[Chrome]:
    """Open a browser whose profile is an empty folder."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver must be installed")
        pytest.skip("needs chromium and chromedriver")
    options = ChromeOptions()
    options.binary_location = binary
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def texts(browser: Chrome, selector: str) -> list[str]:
    """Read all at once: the list redraws itself, and an element found before may be gone."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)",
        selector,
    )
    return found


def click(browser: Chrome, selector: str) -> None:
    """Click the first that matches, once it is there and stays there."""

    def attempt() -> bool:
        try:
            browser.find_element(By.CSS_SELECTOR, selector).click()
        except (NoSuchElementException, StaleElementReferenceException):
            return False
        return True

    wait_for(attempt, within_s=PAGE_S, what=f"a click on {selector}")


def go(browser: Chrome, place: str) -> None:
    """Open a place as its link does; `settings/keys` is a part of one."""
    browser.execute_script("location.hash = arguments[0]", f"#/{place}")
    shown = browser.find_element(By.ID, f"place-{place.partition('/')[0] or 'search'}")
    wait_for(shown.is_displayed, within_s=PAGE_S, what=f"the place {place}")


def text(browser: Chrome, selector: str) -> str:
    """Return what all that match show."""
    return "\n".join(texts(browser, selector))


def sign_in(browser: Chrome, link: str) -> None:
    """Open a one-time link."""
    browser.get(link)
    app = browser.find_element(By.ID, "app")
    wait_for(app.is_displayed, within_s=PAGE_S, what="signing in")


def appear(browser: Chrome, selector: str, what: str, *, within_s: float = PAGE_S) -> list[str]:
    """Wait until something is there; return the texts of all that match."""
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, selector), within_s=within_s, what=what)
    return texts(browser, selector)


def nameless(browser: Chrome) -> set[str | None]:
    """Return the controls without a name, and None; nothing at all if the page drew itself anew."""
    try:
        return {None} | {
            control.get_attribute("outerHTML")
            for control in browser.find_elements(By.CSS_SELECTOR, "button, input, select, a, svg")
            if control.is_displayed() and not control.accessible_name
            if control.get_attribute("aria-hidden") != "true"
        }
    except StaleElementReferenceException:
        return set()
