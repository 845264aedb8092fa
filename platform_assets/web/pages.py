"""The few pages that are ours: to log in, to be told what to do, to come back from another site.

Belongs here: HTML, without scripts and without anything to load. Elsewhere: when each is shown (guard.py).
"""

from html import escape
from typing import Final

CSP: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color:#111}"
    "label,input,button{display:block;font:inherit;width:100%;box-sizing:border-box}input,button{padding:.5rem;"
    "margin:.25rem 0 1rem}code{background:#eee;padding:.1rem .3rem}@media(prefers-color-scheme:dark)"
    "{body{color:#eee;background:#111}code{background:#333}}"
)


def page(title: str, body: str, head: str = "") -> str:
    """A page of ours; `body` and `head` are HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}<title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def going_to(url: str) -> str:
    """Go on from a page of ours: a browser sends no SameSite=Strict cookie on a way that began at another site."""
    return page(
        "One moment",
        f'<p><a href="{escape(url)}">Go on</a></p>',
        f'<meta http-equiv="refresh" content="0;url={escape(url)}">',
    )


def how_to_log_in(problem: str = "") -> str:
    """What somebody does who has no session: only who can read the home can make a code."""
    said = f"<p><strong>{escape(problem)}</strong></p>" if problem else ""
    return page(
        "Log in",
        f"{said}<p>This UI opens with a link that works once. As the user who runs it, type in a terminal of its "
        "machine:</p><p><code>platform ui --login</code></p><p>and open the link that it prints.</p>",
    )


def password_form(problem: str = "") -> str:
    """Log in with name and password."""
    said = f"<p><strong>{escape(problem)}</strong></p>" if problem else ""
    return page(
        "Log in",
        f'{said}<form method="post" action="/login"><label>Name<input name="name" autocomplete="username" required '
        'autofocus></label><label>Password<input name="password" type="password" autocomplete="current-password" '
        "required></label><button>Log in</button></form><p>Who runs the platform adds users: "
        "<code>platform ui user add NAME</code></p>",
    )


def logged_in(who: str) -> str:
    """Who somebody is, and a way out."""
    return page(
        "Logged in",
        f'<p>You are <code>{escape(who)}</code>. <a href="/">Go on</a></p>'
        '<form method="post" action="/login"><button name="out" value="1">Log out</button></form>',
    )


def refused(why: str) -> str:
    """A page that is not shown, and why."""
    return page("Refused", f"<p>{escape(why)}</p>")
