"""The page of the releases as a file: inert whatever it shows, whole, private, written only where it changes."""

import hashlib
import json
import os
import re
import stat
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from machine import PROJECT
from shown_page import HOSTILE, NOON, page

from platform_assets.web.page import Page
from platform_assets.web.page_html import digest_of, page_html, shown_by, site_index, write_page

SITE = PROJECT / "platform_assets" / "web" / "site"
# echarts 6.1.0 as npm has it: dist/echarts.common.min.js
ECHARTS = "61f13280aba3161f77fc801bf5f9c786f55f10432153a0683fc5cc0700b013d5"


class Tags(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts and not self.scripts[-1]:
            self.scripts[-1] = data
        else:
            self.texts.append(data)


def shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attributes)) for tag, attributes in Tags(html).tags]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_text_from_outside_never_becomes_markup(text: str) -> None:
    plain, hostile = page_html(page(text="x", troubles=1)), page_html(page(text=text, troubles=1))
    assert shape(plain) == shape(hostile)
    for script in Tags(hostile).scripts[1:]:
        hostile = hostile.replace(script, "")
    assert not set(hostile) & set("\x00\x1b\r\u202e\u2066\u200f\u2028\ufeff")


def test_scripts_are_ours_and_named_by_their_hashes() -> None:
    html = page_html(page())
    found = Tags(html)
    policy = next(a["content"] or "" for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy
    allowed = {b64decode(each) for each in re.findall(r"'sha256-([^']*)'", policy)}
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    data, *scripts = found.scripts
    assert {hashlib.sha256(each.encode()).digest() for each in (*scripts, *styles)} == allowed
    assert json.loads(data)["assets"][0]["name"] == "raw/shop/asset_0"


def test_it_asks_nothing_of_any_network() -> None:
    loading = [
        (tag, name, value)
        for tag, attributes in Tags(page_html(page(troubles=1))).tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "poster", "srcset") and not str(value).startswith(("#", "data:,"))
    ]
    assert loading == []


def test_the_charting_library_is_as_its_makers_publish_it() -> None:
    assert hashlib.sha256((SITE / "echarts.js").read_bytes()).hexdigest() == ECHARTS
    assert "Apache License" in (SITE / "echarts.LICENSE").read_text()
    assert "BSD 3-Clause" in (SITE / "echarts.LICENSE").read_text()
    assert (SITE / "echarts.NOTICE").read_text().strip()


def test_a_page_without_charts_carries_no_library() -> None:
    assert len(page_html(replace(page(), charts=()))) < 100_000


def test_all_is_there_without_a_script() -> None:
    html = page_html(page(troubles=2))
    said = " ".join(Tags(html).texts)
    for text in ("2 things are not fine", "Check 1 failed", "team:shop", "1011.1234", "-11.50", "in_range(0, 5)"):
        assert text in said


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        (page(), "Everything is fine"),
        (page(troubles=1), "1 thing is not fine"),
        (replace(page(), unknown=("run:",)), "Not all could be looked at"),
        (Page(as_of=NOON), "Nothing is released yet"),
    ],
)
def test_the_first_thing_that_is_said_is_whether_everything_is_fine(shown: Page, verdict: str) -> None:
    html = page_html(shown)
    assert f"<title>{verdict}</title>" in html
    assert f"<h2>{verdict}</h2>" in html


def test_a_page_tells_what_it_shows_and_not_when_it_was_made(tmp_path: Path) -> None:
    path, shown = site_index(tmp_path), page()
    assert shown_by(path) is None
    write_page(shown, path)
    later = replace(shown, as_of=NOON + timedelta(hours=1))
    assert shown_by(path) == digest_of(shown) == digest_of(later)
    others = [page(troubles=1), page(columns=4), replace(shown, drawn=("another release",)), page(text="x")]
    assert len({digest_of(each) for each in (shown, *others)}) == 5
    path.write_text("<html>somebody else's")
    assert shown_by(path) is None


def test_what_a_killed_writer_has_left_goes(tmp_path: Path) -> None:
    path = site_index(tmp_path)
    path.parent.mkdir()
    old, new = (path.with_name(f".index.html.{each}.partial") for each in ("old", "new"))
    for left in (old, new):
        left.write_text("half a page")
    os.utime(old, (0, 0))
    write_page(page(), path)
    assert {each.name for each in path.parent.iterdir()} == {"index.html", new.name}


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = site_index(tmp_path)
    write_page(page(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["index.html"]
