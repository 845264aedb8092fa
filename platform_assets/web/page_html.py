"""The page of the releases as HTML: one file that opens from the disk, asks nothing of a network and runs our scripts.

Belongs here: markup. Elsewhere: what it shows (page.py), how it looks and moves (site/, plain files; echarts.js is
Apache ECharts' own). Every text goes through `_t`, so that it is inert, whatever it is.
"""

import base64
import contextlib
import functools
import hashlib
import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

from platform_assets.engine.durable.files import replacing
from platform_assets.engine.durable.private import make_private
from platform_assets.errors import lines, listed
from platform_assets.web.markup import NO_VALUE, moment, text
from platform_assets.web.page import Page, ShownMart, ShownProduct, Trouble
from platform_assets.web.page_sections import dashboard, data, deliveries, dictionary, lineage, promises

_SITE: Final = Path(__file__).with_name("site")
_DIGEST: Final = "platform-digest"
_HEAD: Final = 2_000  # bytes, in which the digest stands
_OWNER_ALONE: Final = 0o600
_LONGEST_WRITING_S: Final = 3600
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
    make_private(path.parent)
    _sweep(path)
    with replacing(path, mode=_OWNER_ALONE) as partial:
        partial.write_text(page_html(page), encoding="utf-8")


def _sweep(path: Path) -> None:
    """Remove what writers have left that were killed; another may be at work, but not for so long."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{path.name}.*.partial"):
            if time.time() - left.stat().st_mtime > _LONGEST_WRITING_S:
                left.unlink()


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
        "dashboard": ("Dashboard", dashboard(page)),
        "promises": ("Promises", promises(page)),
        "deliveries": ("Deliveries", deliveries(page)),
        "lineage": ("Lineage", lineage(page)),
        "dictionary": ("Dictionary", dictionary(page)),
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
        f"<title>{text(_verdict(page))}</title>"
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body>'
        '<a class="skip" href="#main">To the content</a><header><h1>Data platform</h1><p class="quiet small">As of '
        f'{moment(page.as_of, as_of=True)} <span id="age"></span></p></header>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main id="main" tabindex="-1">{body}</main>'
        "<footer>Written by the platform with each release, and whenever what it says changes. It asks nothing of any "
        "network. Charts are drawn by Apache ECharts (Apache License 2.0).</footer>"
        f'<script type="application/json" id="data">{data(page)}</script>'
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


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{name}</dt><dd>{html}</dd></div>" for name, html in facts if html)


# Status


def _verdict(page: Page) -> str:
    if not page.troubles and page.unknown:
        return "Not all could be looked at"
    if not page.troubles:
        released = any(product.release for product in page.products)
        return "Everything is fine" if released else "Nothing is released yet"
    return "1 thing is not fine" if len(page.troubles) == 1 else f"{len(page.troubles)} things are not fine"


def _status(page: Page) -> str:
    wrong = page.troubles or page.unknown
    owners = sorted({each.owner for each in page.troubles})
    said = f"On it: {text(listed(owners))}." if owners else "Nothing is open, and nothing is held back."
    if page.unknown:
        said += f" Unknown, for it could not be looked at: {text(listed(page.unknown))}."
    return (
        '<p id="stale" class="stale" role="status" hidden></p>'
        f'<div class="verdict {"wrong" if wrong else "fine"}">{_WRONG if wrong else _FINE}'
        f'<div><h2>{text(_verdict(page))}</h2><p class="quiet">{said}</p></div></div>'
        + (f'<ol class="troubles">{"".join(map(_trouble, page.troubles))}</ol>' if page.troubles else "")
        + (f'<ul class="products">{"".join(map(_product, page.products))}</ul>' if page.products else "")
    )


def _trouble(trouble: Trouble) -> str:
    held = listed(trouble.held, 4)
    facts = (
        ("since", moment(trouble.since)),
        ("who is on it", text(trouble.owner)),
        ("waits for it", text(held)),
        ("look closer", f"<code>{text(trouble.command)}</code>" if trouble.command else ""),
    )
    detail = f"<pre>{escape(lines(trouble.detail))}</pre>" if trouble.detail else ""
    return f'<li class="card"><h3>{text(trouble.what)}</h3>{detail}<dl class="facts">{_facts(facts)}</dl></li>'


def _product(product: ShownProduct) -> str:
    released = (
        f"Release {text(product.release)}, {moment(product.released_at)}" if product.release else "No release yet"
    )
    held = f'<p class="note">{text(product.held, 600)}</p>' if product.held else ""
    notes = "".join(f'<p class="note quiet">{text(note, 600)}</p>' for note in product.notes)
    rows = "".join(map(_mart, product.marts))
    return (
        f'<li class="card"><div class="head"><h3>{text(product.name)}</h3><p>{released} · {text(product.owner)}</p>'
        "</div>"
        f'{held}{notes}<div class="scroll"><table><thead><tr><th scope="col">mart</th><th scope="col">state</th>'
        '<th scope="col">newest data</th><th scope="col" class="n">rows</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></li>"
    )


def _mart(mart: ShownMart) -> str:
    look = {"fresh": "", "late": " bad"}.get(mart.state, " none")
    late = f'<br><span class="quiet small">{text(mart.late)}</span>' if mart.late else ""
    rows = NO_VALUE if mart.rows is None else f"{mart.rows:,}"
    return (
        f'<tr><th scope="row">{text(mart.name)}</th><td><span class="state{look}">{mart.state}</span>{late}</td>'
        f'<td>{moment(mart.newest)}</td><td class="n">{rows}</td></tr>'
    )
