"""The sections of the page below its first screen: charts, promises, deliveries, lineage, dictionary.

Belongs here: their markup. Elsewhere: the page as a whole and its first screen (page_html.py), what moves (site/).
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from platform_assets.errors import counted, listed, printable
from platform_assets.web.markup import text
from platform_assets.web.page import DAYS, Day, Page, Promised, ShownChart, ShownDelivery

_OPEN: Final = 12  # deliveries that need no click
_RULES: Final = 3

# Charts


def dashboard(page: Page) -> str:
    """The charts, each above a table of all its values."""
    if not page.charts:
        return ""
    charts = "".join(_chart(each) for each in page.charts)
    return (
        '<h2>Dashboard</h2><p class="quiet">What the marts of the current releases come to. Point at a chart for its '
        f'figures; the table below each has them all.</p><div class="charts">{charts}</div>'
    )


def _chart(chart: ShownChart) -> str:
    unit = f", {text(chart.unit)}" if chart.unit else ""
    title, by = text(chart.title), f", by {text(chart.by)}" if chart.by else ""
    caption = f"<figcaption><h3>{title}</h3><p>{text(chart.mart)}{unit}{by}</p></figcaption>"
    name = text(chart.name)
    if not chart.series:
        problem = chart.problem or "There is nothing to draw yet."
        return f'<figure class="card chart" id="{name}">{caption}<p class="note">{text(problem)}</p></figure>'
    head = "".join(f'<th scope="col" class="n">{text(series)}</th>' for series, _ in chart.series)
    columns = [values for _, values in chart.series]
    rows = "".join(
        f'<tr><th scope="row">{text(x, 80)}</th>'
        + "".join(f'<td class="n">{text(values[at] or "")}</td>' for values in columns)
        + "</tr>"
        for at, x in enumerate(chart.x)
    )
    left = f'<p class="note quiet small">{text(chart.left_out, 600)}</p>' if chart.left_out else ""
    what = f"{title}: a {text(chart.kind)} chart of {counted(len(chart.x), 'point')}; its table follows"
    return (
        f'<figure class="card chart" id="{name}" data-kind="{text(chart.kind)}" data-axis="{text(chart.axis)}" '
        f'data-unit="{text(chart.unit)}" data-x="{text(chart.x_name)}">{caption}<div class="legend" role="group" '
        f'aria-label="Series of {title}"></div><div class="plot" role="img" aria-label="{what}"></div>{left}<details>'
        f'<summary>Table of {title}</summary><div class="scroll" tabindex="0" role="region" aria-label="Table of '
        f'{title}"><table><thead><tr><th scope="col">{text(chart.x_name)}</th>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div></details></figure>"
    )


# Promises


def promises(page: Page) -> str:
    """A strip for each promise, a bar for each day."""
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
        f'<h2>Promises</h2><p class="quiet">Kept or not, day by day: the last {DAYS} days, today at the right.</p>'
        f'<p class="keys">{key}</p>'
        f'<ul class="strips card">{strips}</ul>'
    )


def _strip_line(promised: Promised) -> str:
    broken = f'<p class="broken">{text(promised.broken, 600)}</p>' if promised.broken else ""
    return (
        f'<li><div><h3>{text(promised.subject)}</h3><p class="quiet small">{text(promised.promise)} · '
        f'{text(promised.owner)}</p></div>{_strip(promised)}<p class="small">{text(promised.figures)}</p>{broken}</li>'
    )


def _strip(promised: Promised) -> str:
    due, kept = (sum(getattr(day, what) for day in promised.days) for what in ("due", "kept"))
    missed = [f"{day.day:%d %b}" for day in promised.days if day.kept < day.due]
    said = f"{kept} of {due} kept in {DAYS} days" if due else "nothing was due"
    label = said + (f"; not on {listed(missed, DAYS)}" if missed else "")
    bars = "".join(_bar(at, day) for at, day in enumerate(promised.days))
    return f'<svg class="strip" viewBox="0 0 {10 * DAYS} 24" role="img" aria-label="{text(label, 600)}">{bars}</svg>'


def _bar(at: int, day: Day) -> str:
    missed = day.kept < day.due
    look, y, height = ("missed", 12, 12) if missed else ("kept", 0, 24) if day.due else ("nothing", 11, 2)
    said = day.told or (f"{day.kept} of {day.due} kept" if day.due else "nothing was due")
    return (
        f'<rect class="{look}" x="{10 * at + 1}" y="{y}" width="8" height="{height}" rx="1">'
        f"<title>{day.day:%a %d %b}: {text(said)}</title></rect>"
    )


# Deliveries


def deliveries(page: Page) -> str:
    """The newest deliveries by day, what came of their rows, and which rules they broke."""
    if not page.deliveries:
        return ""
    more = f"; {page.more_deliveries:,} older ones: <code>platform delivery list</code>" if page.more_deliveries else ""
    first, others = page.deliveries[:_OPEN], page.deliveries[_OPEN:]
    folded = ""
    if others:
        folded = f"<details><summary>{counted(len(others), 'delivery')} before</summary>{_days(others)}</details>"
    return (
        f'<h2>Deliveries</h2><p class="quiet">The last {counted(len(page.deliveries), "delivery")}{more}. Times are '
        f'UTC.</p><div class="card">{_days(first)}{folded}</div>'
    )


def _days(shown: Sequence[ShownDelivery]) -> str:
    days = "".join(
        f'<li><h3><time datetime="{day}">{day:%a %d %b %Y}</time></h3><ol class="deliveries">'
        f"{''.join(map(_delivery, of))}</ol></li>"
        for day, of in groupby(shown, key=lambda each: each.at.date())
    )
    return f'<ol class="days">{days}</ol>'


def _delivery(delivery: ShownDelivery) -> str:
    bad = delivery.status == "quarantined"
    told = f'<p class="small quiet">{text(delivery.told)}</p>' if delivery.told else ""
    figures = ", ".join(
        f"{getattr(delivery, name):,} {name}"
        for name in ("accepted", "rejected", "duplicate")
        if getattr(delivery, name)
    )
    rules = "".join(
        f"<li>{text(column)}: {text(rule, 120)} ({counted(rows, 'row')})</li>"
        for column, rule, rows in delivery.rejections[:_RULES]
    )
    if (further := len(delivery.rejections) - _RULES) > 0:
        rules += f"<li>{counted(further, 'rule')} more</li>"
    return (
        f'<li><p class="line"><span class="quiet small">{delivery.at:%H:%M}</span><strong>{text(delivery.feed)}'
        f'</strong><span class="file">{text(delivery.file)}</span><span class="state{" bad" * bad}">{delivery.status}'
        f"</span></p>"
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


def lineage(page: Page) -> str:
    """Where the assets are drawn; without the script, a table of them."""
    if not page.assets:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{text(each.name)}</th><td>{text(listed(each.inputs)) or "what is delivered"}</td></tr>'
        for each in page.assets
    )
    return (
        '<h2>Lineage</h2><p class="quiet">From feeds to marts, products and who uses them. Choose one to see what it '
        'is made from and what hangs on it.</p><div class="card"><div class="lineage" role="group" '
        'aria-label="Assets by layer" tabindex="0"></div><div class="about" aria-live="polite"></div><noscript>'
        f"<table><thead><tr><th>asset</th><th>made from</th></tr></thead><tbody>{rows}</tbody></table></noscript></div>"
    )


def dictionary(page: Page) -> str:
    """Where the columns are found."""
    if not page.columns:
        return ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("column", "type", "meaning", "rules", "personal data"))
    return (
        '<h2>Dictionary</h2><p class="quiet">Every column of feeds, models and marts, as contracts and dbt describe '
        'it.</p><div class="search" data-needs-script hidden><label for="search">Search names, meanings, types, rules '
        '(press <kbd>/</kbd>)</label><input id="search" type="search" autocomplete="off" spellcheck="false">'
        '<span id="hits" class="quiet small" role="status"></span></div><div class="card dictionary"><noscript><p>The '
        "search needs JavaScript; <code>platform feed list --json</code> and dbt's YAML have the same.</p></noscript>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Columns"><table><thead><tr>{heads}</tr></thead>'
        '<tbody></tbody></table></div><button type="button" class="more" hidden>Show more</button></div>'
    )


def data(page: Page) -> str:
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
