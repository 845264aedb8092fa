"""The page of the releases as HTML: one file that opens from the disk, asks nothing of a network and runs our scripts.

Belongs here: markup. Elsewhere: what it shows (page.py), how it looks and moves (site/, plain files; echarts.js is
Apache ECharts' own). Every text goes through `_t`, so that it is inert, whatever it is.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from platform_assets.engine.durable.files import replacing
from platform_assets.errors import counted, lines, listed, printable
from platform_assets.web.page import (
    DAYS,
    Day,
    Page,
    Promised,
    ShownChart,
    ShownDelivery,
    ShownMart,
    ShownProduct,
    Trouble,
)

_SITE: Final = Path(__file__).with_name("site")
_LONGEST: Final = 300
_DIGEST: Final = "platform-digest"
_HEAD: Final = 2_000  # bytes, in which the digest stands
_OWNER_ALONE: Final = 0o600
_NO_VALUE: Final = "\N{EN DASH}"
_FINE: Final = (
    '<svg viewBox="0 0 40 40" aria-hidden="true"><circle cx="20" cy="20" r="18" fill="none" stroke="currentColor" '
    'stroke-width="3"/><path d="M12 20.5l5.5 5.5L28.5 15" fill="none" stroke="currentColor" stroke-width="3.5"/></svg>'
)
_WRONG: Final = (
    '<svg viewBox="0 0 40 40" aria-hidden="true"><path d="M20 4L38 36H2Z" fill="none" stroke="currentColor" '
    'stroke-width="3" stroke-linejoin="round"/><path d="M20 15v10M20 28.5v3" stroke="currentColor" '
    'stroke-width="3.5"/></svg>'
)


def site_index(home: Path) -> Path:
    """Where the page of the deployment at `home` lies."""
    return home / "site" / "index.html"


def shown_by(path: Path) -> str | None:
    """The digest of what the page at `path` shows; None where there is none, or it is not ours."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode(errors="replace")
    except OSError:
        return None
    _, found, rest = head.partition(f'<meta name="{_DIGEST}" content="')
    return rest.partition('"')[0] if found else None


def digest_of(page: Page) -> str:
    """Changes whenever the file would show something else."""
    return hashlib.sha256(f"{page.digest()} {_template()}".encode()).hexdigest()[:32]


def write_page(page: Page, path: Path) -> None:
    """Put the page there, whole or not at all; nobody but its owner may read it. Raises StorageError."""
    with replacing(path, mode=_OWNER_ALONE) as partial:
        partial.write_text(page_html(page), encoding="utf-8")


def page_html(page: Page) -> str:
    """The whole file."""
    style, scripts = _file("page.css"), [_file("page.js")]
    if any(chart.series for chart in page.charts):
        scripts.insert(0, _file("echarts.js"))
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; "
        "style-src-attr 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    sections = {
        "status": ("Status", _status(page)),
        "dashboard": ("Dashboard", _dashboard(page)),
        "promises": ("Promises", _promises(page)),
        "deliveries": ("Deliveries", _deliveries(page)),
        "lineage": ("Lineage", _lineage(page)),
        "dictionary": ("Dictionary", _dictionary(page)),
    }
    there = {name: each for name, each in sections.items() if each[1]}
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in there.items())
    body = "".join(
        f'<section id="{name}" aria-label="{title}">{html}</section>' for name, (title, html) in there.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="{_DIGEST}" content="{digest_of(page)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_t(_verdict(page))}</title>"
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body>'
        '<a class="skip" href="#main">To the content</a><header><h1>Data platform</h1><p class="quiet small">As of '
        f'{_time(page.as_of, as_of=True)} <span id="age"></span></p></header>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main id="main" tabindex="-1">{body}</main>'
        "<footer>Written by the platform with each release, and whenever what it says changes. It asks nothing of any "
        "network. Charts are drawn by Apache ECharts (Apache License 2.0).</footer>"
        f'<script type="application/json" id="data">{_data(page)}</script>'
        + "".join(f"<script>{script}</script>" for script in scripts)
        + "</body></html>\n"
    )


@functools.cache
def _file(name: str) -> str:
    return (_SITE / name).read_text(encoding="utf-8")


@functools.cache
def _template() -> str:
    texts = [
        Path(__file__).read_text(encoding="utf-8"),
        *(_file(name) for name in ("page.css", "page.js", "echarts.js")),
    ]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@functools.cache
def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _t(text: object, most: int = _LONGEST) -> str:
    """Any text, inert: one line, without characters that steer or turn letters round, of bounded length."""
    return escape(printable(str(text), most))


def _time(at: datetime | None, *, as_of: bool = False) -> str:
    if at is None:
        return _NO_VALUE
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}"{" id=as-of" * as_of}>{at:%d %b %Y, %H:%M} UTC</time>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{name}</dt><dd>{html}</dd></div>" for name, html in facts if html)


# Status


def _verdict(page: Page) -> str:
    if not page.troubles:
        return "Everything is fine" if page.products else "Nothing is released yet"
    return "1 thing is not fine" if len(page.troubles) == 1 else f"{len(page.troubles)} things are not fine"


def _status(page: Page) -> str:
    owners = sorted({each.owner for each in page.troubles})
    said = f"On it: {_t(listed(owners))}." if owners else "Nothing is open, and nothing is held back."
    return (
        '<p id="stale" class="stale" role="status" hidden></p>'
        f'<div class="verdict {"wrong" if page.troubles else "fine"}">{_WRONG if page.troubles else _FINE}'
        f'<div><h2>{_t(_verdict(page))}</h2><p class="quiet">{said}</p></div></div>'
        + (f'<ol class="troubles">{"".join(map(_trouble, page.troubles))}</ol>' if page.troubles else "")
        + (f'<ul class="products">{"".join(map(_product, page.products))}</ul>' if page.products else "")
    )


def _trouble(trouble: Trouble) -> str:
    held = listed(trouble.held, 4)
    facts = (
        ("since", _time(trouble.since)),
        ("who is on it", _t(trouble.owner)),
        ("waits for it", _t(held)),
        ("look closer", f"<code>{_t(trouble.command)}</code>" if trouble.command else ""),
    )
    detail = f"<pre>{escape(lines(trouble.detail))}</pre>" if trouble.detail else ""
    return f'<li class="card"><h3>{_t(trouble.what)}</h3>{detail}<dl class="facts">{_facts(facts)}</dl></li>'


def _product(product: ShownProduct) -> str:
    released = f"Release {_t(product.release)}, {_time(product.released_at)}" if product.release else "No release yet"
    held = f'<p class="note">{_t(product.held, 600)}</p>' if product.held else ""
    notes = "".join(f'<p class="note quiet">{_t(note, 600)}</p>' for note in product.notes)
    rows = "".join(map(_mart, product.marts))
    return (
        f'<li class="card"><div class="head"><h3>{_t(product.name)}</h3><p>{released} · {_t(product.owner)}</p></div>'
        f'{held}{notes}<div class="scroll"><table><thead><tr><th scope="col">mart</th><th scope="col">state</th>'
        f'<th scope="col">newest data</th><th scope="col" class="n">rows</th></tr></thead><tbody>{rows}</tbody></table>'
        "</div></li>"
    )


def _mart(mart: ShownMart) -> str:
    look = {"fresh": "", "late": " bad", "no data": " none"}[mart.state]
    late = f'<br><span class="quiet small">{_t(mart.late)}</span>' if mart.late else ""
    rows = _NO_VALUE if mart.rows is None else f"{mart.rows:,}"
    return (
        f'<tr><th scope="row">{_t(mart.name)}</th><td><span class="state{look}">{mart.state}</span>{late}</td>'
        f'<td>{_time(mart.newest)}</td><td class="n">{rows}</td></tr>'
    )


# Charts


def _dashboard(page: Page) -> str:
    if not page.charts:
        return ""
    charts = "".join(_chart(each) for each in page.charts)
    return (
        '<h2>Dashboard</h2><p class="quiet">What the marts of the current releases come to. Point at a chart for its '
        f'figures; the table below each has them all.</p><div class="charts">{charts}</div>'
    )


def _chart(chart: ShownChart) -> str:
    unit = f", {_t(chart.unit)}" if chart.unit else ""
    caption = f"<figcaption><h3>{_t(chart.title)}</h3><p>{_t(chart.mart)}{unit}</p></figcaption>"
    name = _t(chart.name)
    if not chart.series:
        problem = chart.problem or "There is nothing to draw yet."
        return f'<figure class="card chart" id="{name}">{caption}<p class="note">{_t(problem)}</p></figure>'
    head = "".join(f'<th scope="col" class="n">{_t(series)}</th>' for series, _ in chart.series)
    columns = [values for _, values in chart.series]
    rows = "".join(
        f'<tr><th scope="row">{_t(x, 80)}</th>'
        + "".join(f'<td class="n">{_t(values[at] or "")}</td>' for values in columns)
        + "</tr>"
        for at, x in enumerate(chart.x)
    )
    left = f'<p class="note quiet small">{_t(chart.left_out, 600)}</p>' if chart.left_out else ""
    what = f"{_t(chart.title)}: a {_t(chart.kind)} chart of {counted(len(chart.x), 'point')}; its table follows"
    return (
        f'<figure class="card chart" id="{name}" data-kind="{_t(chart.kind)}" data-axis="{_t(chart.axis)}" '
        f'data-unit="{_t(chart.unit)}" data-x="{_t(chart.x_name)}">{caption}<div class="legend" role="group" '
        f'aria-label="Series of {_t(chart.title)}"></div><div class="plot" role="img" aria-label="{what}"></div>{left}'
        f'<details><summary>Table of {_t(chart.title)}</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Table of {_t(chart.title)}"><table><thead><tr><th scope="col">{_t(chart.x_name)}</th>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div></details></figure>"
    )


# Promises


def _promises(page: Page) -> str:
    if not page.promises:
        return ""
    keys = (("kept", 0, 16, "kept"), ("missed", 8, 8, "late, missing or unsound"), ("nothing", 7, 2, "nothing was due"))
    key = "".join(
        f'<span class="key"><svg viewBox="0 0 10 16" aria-hidden="true"><rect class="{look}" x="1" y="{y}" width="8" '
        f'height="{height}"/></svg>{said}</span>'
        for look, y, height, said in keys
    )
    strips = "".join(_strip_line(each) for each in page.promises)
    return (
        f'<h2>Promises</h2><p class="quiet">The last {DAYS} days, today at the right. {key}</p>'
        f'<ul class="strips card">{strips}</ul>'
    )


def _strip_line(promised: Promised) -> str:
    broken = f'<p class="broken">{_t(promised.broken, 600)}</p>' if promised.broken else ""
    return (
        f'<li><div><h3>{_t(promised.subject)}</h3><p class="quiet small">{_t(promised.promise)} · '
        f'{_t(promised.owner)}</p></div>{_strip(promised)}<p class="small">{_t(promised.figures)}</p>{broken}</li>'
    )


def _strip(promised: Promised) -> str:
    due, kept = (sum(getattr(day, what) for day in promised.days) for what in ("due", "kept"))
    missed = [f"{day.day:%d %b}" for day in promised.days if day.kept < day.due]
    said = f"{kept} of {due} kept in {DAYS} days" if due else "nothing was due"
    label = said + (f"; not on {listed(missed, DAYS)}" if missed else "")
    bars = "".join(_bar(at, day) for at, day in enumerate(promised.days))
    return f'<svg class="strip" viewBox="0 0 {10 * DAYS} 24" role="img" aria-label="{_t(label, 600)}">{bars}</svg>'


def _bar(at: int, day: Day) -> str:
    missed = day.kept < day.due
    look, y, height = ("missed", 12, 12) if missed else ("kept", 0, 24) if day.due else ("nothing", 11, 2)
    said = day.told or (f"{day.kept} of {day.due} kept" if day.due else "nothing was due")
    return (
        f'<rect class="{look}" x="{10 * at + 1}" y="{y}" width="8" height="{height}" rx="1">'
        f"<title>{day.day:%a %d %b}: {_t(said)}</title></rect>"
    )


# Deliveries


def _deliveries(page: Page) -> str:
    if not page.deliveries:
        return ""
    days = "".join(
        f'<li><h3><time datetime="{day}">{day:%a %d %b %Y}</time></h3><ol class="deliveries">'
        f"{''.join(map(_delivery, of))}</ol></li>"
        for day, of in groupby(page.deliveries, key=lambda each: each.at.date())
    )
    more = f"; {page.more_deliveries:,} older ones: <code>platform delivery list</code>" if page.more_deliveries else ""
    return (
        f'<h2>Deliveries</h2><p class="quiet">The last {counted(len(page.deliveries), "delivery")}{more}. Times are '
        f'UTC.</p><ol class="days card">{days}</ol>'
    )


def _delivery(delivery: ShownDelivery) -> str:
    bad = delivery.status == "quarantined"
    told = f'<p class="small quiet">{_t(delivery.told)}</p>' if delivery.told else ""
    figures = ", ".join(
        f"{getattr(delivery, name):,} {name}"
        for name in ("accepted", "rejected", "duplicate")
        if getattr(delivery, name)
    )
    rules = "".join(
        f"<li>{_t(column)}: {_t(rule, 120)} ({counted(rows, 'row')})</li>" for column, rule, rows in delivery.rejections
    )
    return (
        f'<li><p class="line"><span class="quiet small">{delivery.at:%H:%M}</span><strong>{_t(delivery.feed)}</strong>'
        f'<span class="file">{_t(delivery.file)}</span><span class="state{" bad" * bad}">{delivery.status}</span></p>'
        f'<p class="small">{_share(delivery)}{delivery.read:,} read{": " * bool(figures)}{figures}</p>{told}'
        + (f'<ul class="rules" aria-label="Rejected by rule">{rules}</ul>' if rules else "")
        + "</li>"
    )


def _share(delivery: ShownDelivery) -> str:
    """How the rows of a delivery divide, as a bar; its figures stand beside it."""
    if not delivery.read:
        return ""

    def parts() -> Iterator[str]:
        at = 0.0
        for name in ("accepted", "rejected", "duplicate"):
            if rows := getattr(delivery, name):
                width = max(160 * rows / delivery.read, 1.5)
                yield f'<rect class="{name}" x="{at:.1f}" y="0" width="{width:.1f}" height="6"/>'
                at += width

    return f'<svg class="share" viewBox="0 0 160 6" aria-hidden="true">{"".join(parts())}</svg>'


# Lineage and dictionary: drawn by the script from the data, so that they cost nothing before they are looked at


def _lineage(page: Page) -> str:
    if not page.assets:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_t(each.name)}</th><td>{_t(listed(each.inputs)) or "what is delivered"}</td></tr>'
        for each in page.assets
    )
    return (
        '<h2>Lineage</h2><p class="quiet">From feeds to marts, products and who uses them. Choose one to see what it '
        'is made from and what hangs on it.</p><div class="card"><div class="lineage" role="group" '
        'aria-label="Assets by layer" tabindex="0"></div><div class="about" aria-live="polite"></div><noscript>'
        f"<table><thead><tr><th>asset</th><th>made from</th></tr></thead><tbody>{rows}</tbody></table></noscript></div>"
    )


def _dictionary(page: Page) -> str:
    if not page.columns:
        return ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("column", "type", "meaning", "rules", "personal data"))
    return (
        '<h2>Dictionary</h2><p class="quiet">Every column of feeds, models and marts, as contracts and dbt describe '
        'it.</p><div class="search" data-needs-script hidden><label for="search">Search names, meanings, types, rules (press '
        '<kbd>/</kbd>)</label><input id="search" type="search" autocomplete="off" spellcheck="false">'
        '<span id="hits" class="quiet small" role="status"></span></div><div class="card dictionary"><noscript><p>The '
        "search needs JavaScript; <code>platform feed list --json</code> and dbt's YAML have the same.</p></noscript>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Columns"><table><thead><tr>{heads}</tr></thead>'
        '<tbody></tbody></table></div><button type="button" class="more" hidden>Show more</button></div>'
    )


def _data(page: Page) -> str:
    """What lineage and dictionary are made of, as JSON in which nothing ends the script."""
    at = {each.name: place for place, each in enumerate(page.assets)}

    def said(texts: Sequence[str]) -> list[str]:
        return [printable(text, 1_000) for text in texts]

    assets = [
        {
            "name": printable(each.name),
            "layer": each.layer,
            "about": printable(" ".join(each.about.split()), 1_000),
            "owner": printable(each.owner),
            "inputs": said(each.inputs),
            "state": printable(each.state),
        }
        for each in page.assets
    ]
    columns = [
        [at.get(each.asset, -1), *said((each.name, each.type, " ".join(each.about.split()), each.rules, each.personal))]
        for each in page.columns
    ]
    text = json.dumps({"assets": assets, "columns": columns}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
