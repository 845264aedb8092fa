"""The page of the releases in Chromium, opened from the disk: drawn, exact, inert, accessible, fast, also when large.

Belongs here: what only a browser can tell. Elsewhere: the file itself (unit/web/test_page.py), what is drawn
(unit/store/test_charted.py), when it is written (integration/test_page_command.py).
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from browser import chromium
from machine import CHROMEDRIVER, PROJECT
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from shown_page import HOSTILE, page

from platform_assets.web.page import Page
from platform_assets.web.page_html import write_page

AXE: Final = PROJECT / "tests" / "ui" / "axe" / "axe.min.js"  # axe-core 4.14.1 as npm has it; MPL-2.0
SCHEME: Final = "prefers-color-scheme"
FIRST_PAINT_MS: Final = 1000
MARKS: Final = (
    "const f = document.getElementById(arguments[0]), c = echarts.getInstanceByDom(f.querySelector('.plot'));"
    "return c.getOption().series.map(s => s.data.map(d => d.value))"
)
PAINTED: Final = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0]"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs(CHROMEDRIVER, "chromium-driver"),
]


@contextlib.contextmanager
def opened(folder: Path, shown: Page, *, script: bool = True) -> Iterator[webdriver.Chrome]:
    """The page, opened from the disk; at the end the console is empty, and nothing ran that is not ours."""
    path = folder / "index.html"
    write_page(shown, path)
    with chromium(folder / "profile") as browser:
        if not script:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get(path.as_uri())
        yield browser
        if script:
            assert browser.execute_script("return window.pwned") is None
        assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def look(browser: webdriver.Chrome, section: str) -> None:
    """Scroll there, and wait for what is drawn then."""
    browser.execute_script("document.getElementById(arguments[0]).scrollIntoView({behavior: 'instant'})", section)


def drawn(browser: webdriver.Chrome) -> None:
    """Wait until every chart is drawn."""
    for each in browser.execute_script("return [...document.querySelectorAll('.chart[data-kind]')].map(f => f.id)"):
        look(browser, each)
    undrawn = (
        "return [...document.querySelectorAll('.chart[data-kind] .plot')]"
        ".filter(p => p.querySelectorAll('svg path').length < 3).length"
    )
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(undrawn) == 0)


def test_charts_are_drawn_with_the_numbers_of_their_tables(tmp_path: Path) -> None:
    with opened(tmp_path, page(days=70)) as browser:
        drawn(browser)
        line: Any = browser.execute_script(MARKS, "REVENUE_BY_DAY")
        assert [len(series) for series in line] == [70, 70]
        assert [value for _, value in line[0]] == [1000.1234 + at for at in range(70)]
        assert [value for _, value in line[1]][:3] == [-0.5, -1.5, -2.5]
        assert line[0][1][0] - line[0][0][0] == 86_400_000
        assert browser.execute_script(MARKS, "TOP") == [[[50 - at, at] for at in range(5)]]
        assert browser.execute_script(MARKS, "VALUE") == [[[1, 10], [3, 12]], [[2, 11]]]
        cells = browser.execute_script(
            "return [...document.querySelectorAll('#REVENUE_BY_DAY td')].slice(0, 2).map(c => c.textContent)"
        )
        assert cells == ["1000.1234", "-0.50"]


def test_pointing_at_a_chart_tells_the_digits_of_the_table(tmp_path: Path) -> None:
    with opened(tmp_path, page()) as browser:
        drawn(browser)
        look(browser, "REVENUE_BY_DAY")
        browser.execute_script(
            "echarts.getInstanceByDom(document.querySelector('#REVENUE_BY_DAY .plot'))"
            ".dispatchAction({type: 'showTip', seriesIndex: 0, dataIndex: 3})"
        )
        tip = browser.find_element("css selector", "#REVENUE_BY_DAY .tip").text
        assert tip.split("\n") == ["2026-03-04", "gross", "1003.1234 GBP", "returns", "-3.50 GBP"]


def test_a_legend_is_worked_by_keyboard(tmp_path: Path) -> None:
    with opened(tmp_path, page()) as browser:
        drawn(browser)
        button = browser.find_element("css selector", "#REVENUE_BY_DAY .legend button")
        count = "return document.querySelectorAll('#REVENUE_BY_DAY .plot svg path').length"
        before = browser.execute_script(count)
        button.send_keys(Keys.ENTER)
        assert button.get_attribute("aria-pressed") == "false"
        WebDriverWait(browser, 5).until(lambda b: b.execute_script(count) < before)
        button.send_keys(Keys.SPACE)
        assert button.get_attribute("aria-pressed") == "true"
        WebDriverWait(browser, 5).until(lambda b: b.execute_script(count) == before)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_inert(tmp_path: Path, text: str) -> None:
    with opened(tmp_path, page(text=text, troubles=1)) as browser:
        drawn(browser)
        for section in ("lineage", "dictionary"):
            look(browser, section)
        WebDriverWait(browser, 10).until(
            lambda b: b.execute_script("return document.querySelectorAll('#dictionary tbody tr').length") == 12
        )
        browser.execute_script("document.querySelectorAll('.lineage button').forEach(b => b.click())")
        browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert browser.execute_script("return document.querySelectorAll('img, iframe, object, embed').length") == 0
        time.sleep(0.3)  # for what an image would have done


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_seriously_inaccessible(tmp_path: Path, scheme: str, width: int) -> None:
    with opened(tmp_path, page(troubles=2)) as browser:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": SCHEME, "value": scheme}]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        drawn(browser)
        for section in ("lineage", "dictionary"):
            look(browser, section)
            time.sleep(0.3)
        browser.execute_script("document.querySelector('.lineage button').click()")
        browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
        # By the debugger, since the page lets no other script run.
        browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
        found = browser.execute_cdp_cmd(
            "Runtime.evaluate",
            {"expression": "axe.run().then(r => JSON.stringify(r.violations))", "awaitPromise": True},
        )
        faults = json.loads(found["result"]["value"])
        assert [
            (each["id"], each["impact"], [node["html"][:150] for node in each["nodes"][:3]])
            for each in faults
            if each["impact"] in ("serious", "critical")
        ] == []
        # Nothing is cut off at the side, either.
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_dark_is_dark_and_charts_follow(tmp_path: Path) -> None:
    colours = []
    with opened(tmp_path, page()) as browser:
        drawn(browser)
        for scheme in ("light", "dark"):
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": SCHEME, "value": scheme}]})
            time.sleep(0.3)
            colours.append(
                browser.execute_script(
                    "return [getComputedStyle(document.body).backgroundColor, document.querySelector("
                    "'#TOP .plot').innerHTML.match(/fill=\"(#[0-9a-f]{6})/g).join()]"
                )
            )
    (light, bars), (dark, dark_bars) = colours
    assert sum(json.loads(light.replace("rgb(", "[").replace(")", "]"))) > 700
    assert sum(json.loads(dark.replace("rgb(", "[").replace(")", "]"))) < 100
    assert bars != dark_bars


def test_it_prints_light_and_whole(tmp_path: Path) -> None:
    with opened(tmp_path, page(troubles=1)) as browser:
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": "print", "features": [{"name": SCHEME, "value": "dark"}]}
        )
        hidden = browser.execute_script(
            "return ['nav', '#dictionary', '#REVENUE_BY_DAY'].map("
            "s => getComputedStyle(document.querySelector(s)).display === 'none')"
        )
        assert hidden == [True, True, False]
        assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        pdf = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"]
        assert len(pdf) > 20_000


def test_columns_are_found_by_keyboard(tmp_path: Path) -> None:
    with opened(tmp_path, page(assets=8, columns=40)) as browser:
        body = browser.find_element("css selector", "body")
        body.send_keys("/")
        search = browser.switch_to.active_element
        assert search.get_attribute("id") == "search"
        rows = "return document.querySelectorAll('#dictionary tbody tr').length"
        assert browser.execute_script(rows) == 100
        search.send_keys("column_39 asset_7")
        assert browser.execute_script(rows) == 1
        assert browser.find_element("id", "hits").text == "1 of 320 columns"
        search.send_keys(Keys.ESCAPE)
        assert browser.find_element("id", "hits").text == "320 columns"
        more = browser.find_element("css selector", "#dictionary .more")
        more.send_keys(Keys.ENTER)
        assert browser.execute_script(rows) == 200


def test_lineage_shows_what_an_asset_is_made_from(tmp_path: Path) -> None:
    with opened(tmp_path, page(assets=8)) as browser:
        look(browser, "lineage")
        buttons = WebDriverWait(browser, 10).until(lambda b: b.find_elements("css selector", ".lineage button"))
        assert len(buttons) == 8
        (mart,) = [each for each in buttons if each.text == "asset_4"]
        mart.send_keys(Keys.ENTER)
        assert "made from\nraw/shop/asset_0" in browser.find_element("css selector", "#lineage .about").text
        assert browser.execute_script("return document.querySelectorAll('.lineage path.on').length") == 1
        browser.find_element("css selector", "#lineage .about button").send_keys(Keys.ENTER)
        assert browser.find_element("id", "hits").text == "3 of 24 columns"


def test_without_scripts_all_but_lineage_and_search_is_there(tmp_path: Path) -> None:
    with opened(tmp_path, page(troubles=1), script=False) as browser:
        text = browser.find_element("css selector", "body").text
        for said in (
            "1 thing is not fine",
            "Check 0 failed",
            "daily",
            "9 of 10 kept",
            "sales/2026-02-20.csv",
            "Lineage",
        ):
            assert said in text
        summary = browser.find_element("css selector", "#REVENUE_BY_DAY summary")
        summary.send_keys(Keys.ENTER)
        assert "1011.1234" in browser.find_element("id", "REVENUE_BY_DAY").text


@pytest.mark.parametrize(("assets", "columns"), [(200, 3), (200, 500)])
def test_a_large_page_is_painted_at_once(tmp_path: Path, assets: int, columns: int) -> None:
    """The best of three, as other tests run beside it."""
    shown = replace(page(assets=assets, columns=columns, days=1000), as_of=page().as_of)
    took = []
    for at in range(3):
        with opened(tmp_path / str(at), shown) as browser:
            took.append(float(WebDriverWait(browser, 30).until(lambda b: b.execute_script(PAINTED))))
            look(browser, "lineage")
            WebDriverWait(browser, 30).until(
                lambda b: len(b.find_elements("css selector", ".lineage button")) == assets
            )
    assert min(took) < FIRST_PAINT_MS
