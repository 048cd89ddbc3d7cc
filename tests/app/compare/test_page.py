"""The page in a browser: it fits a phone, sorts, asks for nothing from elsewhere, and shows names as they are."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

from lightning_losses.app.compare.report import write_report
from tests.app.compare.making import write_job, write_overrides, write_sweep

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromium-driver are not installed")

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
MALICIOUS = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
SETTINGS = OmegaConf.create({"metric": None, "baseline": None})


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Three losses, one of which has markup for a name and one a long one, and a job that failed."""
    folder = tmp_path_factory.mktemp("sweep")
    write_sweep(folder, {"ce": [0.6, 0.7, 0.65], "focal": [0.9, 0.75, 0.8]})
    for i, name in enumerate((MALICIOUS, "a_long_name_without_a_break_" * 5)):
        write_job(folder / str(6 + i), ["data=csv", f"loss={name}", "seed=0"], {"average_precision": 0.1 + i / 2})
    write_overrides(folder / "8", ["data=csv", "loss=mse", "seed=0"])
    (folder / "8" / "result.json").write_text(json.dumps({"status": "failed", "error": MALICIOUS}))
    return write_report(folder, SETTINGS)


@pytest.fixture
def show(browser, page):
    """Open the page with a width and a colour scheme."""

    def show(width=1280, scheme="light"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        return browser

    return show


@pytest.mark.parametrize("width", [375, 970, 1280])
def test_no_word_of_usual_length_is_broken(show, width):
    broken = "return [...document.querySelectorAll('.whole')].filter((e) => e.getClientRects().length > 1)"
    assert show(width).execute_script(broken) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 800, 1280])
def test_nothing_is_wider_than_the_window(show, width, scheme):
    browser = show(width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    wide = "return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth)"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [element.tag_name for element in browser.execute_script(wide)] == []
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    shown = browser.execute_script("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert shown


def test_a_heading_sorts_by_click_and_by_key(show):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = show()
    buttons = browser.find_elements(By.CSS_SELECTOR, "table:first-of-type thead button")

    def first_column():
        return browser.execute_script(
            "return [...document.querySelector('table').tBodies[0].rows].map((row) => row.cells[0].dataset.sort)"
        )

    started = first_column()
    assert started[:2] == ["ce", "focal"]
    buttons[1].click()
    assert first_column() == ["focal", "ce", started[3], started[2]]
    assert buttons[1].find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    buttons[1].send_keys(Keys.ENTER)
    assert first_column() == [started[2], started[3], "ce", "focal"]
    assert buttons[1].find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    buttons[0].send_keys(Keys.SPACE)
    assert first_column()[-1] == "focal"
    # the baseline has no difference: it stays last either way
    for _ in range(2):
        buttons[2].click()
        assert first_column()[-1] == "ce"


def test_it_asks_for_nothing_and_logs_no_error(show):
    show().get_log("performance")
    browser = show()
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"]
    assert urls
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
    assert [url for url in urls if url.startswith("file")] == [browser.current_url]
    assert browser.get_log("browser") == []


def test_names_are_shown_and_not_executed(show):
    browser = show()
    assert browser.title.startswith("Comparison of ce, focal, <script>")
    assert len(browser.execute_script("return [...document.scripts]")) == 1
    assert MALICIOUS in browser.execute_script("return document.body.textContent")


def test_every_table_and_picture_says_what_it_is(show):
    browser = show()
    tables, pictures = "document.querySelectorAll('table')", "document.images"
    assert browser.execute_script(f"return [...{tables}].every((t) => t.caption.textContent.length > 10)")
    assert browser.execute_script(f"return [...{pictures}].every((i) => i.alt.length > 20)")
    assert browser.execute_script("return document.documentElement.lang") == "en"
