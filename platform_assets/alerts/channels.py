"""Channels: where alerts go, by owner, and how each kind of channel is spoken to.

Belongs here: reading channels from settings, the list of allowed hosts, the text of a message. Elsewhere: when a
message is due (outbox.py), the network (network.py). Errors name variable and host, never a URL: it is a secret.
"""

import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final, Literal, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from platform_assets.alerts.network import Endpoint, Reach, request, send_mail
from platform_assets.errors import ConfigurationError

DEFAULT: Final = "PLATFORM_ALERT"
HOSTS: Final = "PLATFORM_ALERT_HOSTS"
HEARTBEAT: Final = "PLATFORM_HEARTBEAT"

Kind = Literal["opened", "flapping", "reminder", "recovered", "test"]

# Ports that a host may be asked at when the list names none; the first is the scheme's own.
_PORTS: Final = {"https": (443,), "http": (80,), "smtp": (587, 25), "smtps": (465,)}
_FORMATS: Final = {"slack+https": "slack", "slack+http": "slack", "https": "json", "http": "json"} | dict.fromkeys(
    ("smtp", "smtps"), "mail"
)
_FIRST_ASSETS: Final = 5
_HEADER_CHARS: Final = 150
_BLOCK_CHARS: Final = 2800
_MENTION: Final = re.compile(r"@(?=channel|all|here|everyone)", re.I)
_ADDRESS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Message:
    """What is told of an incident, as it was when it was put into the outbox.

    id: the same over every attempt, for the receiver to know a repetition. at: when it happened. lasted: how long it
    did, of what has recovered. returns: how often it had come back by then.
    """

    id: str
    kind: Kind
    key: str
    owner: str
    title: str
    detail: str
    assets: tuple[str, ...]
    runbook: str
    command: str
    since: datetime
    at: datetime
    returns: int = 0
    lasted: timedelta | None = None

    @property
    def headline(self) -> str:
        """What happened, on one line."""
        title = " ".join(self.title.split())
        if self.lasted is not None:
            return f"Recovered after {spoken(self.lasted)}: {title}"
        return {"flapping": "Comes and goes: ", "reminder": "Still: "}.get(self.kind, "") + title

    @property
    def lines(self) -> list[str]:
        """All else, for people."""
        since = f"since {moment(self.since)}, of {self.owner}"
        back = [f"it came back {self.returns} time{'s' * (self.returns > 1)}"] * (self.returns > 0)
        if self.kind == "recovered":
            return [f"{since}, until {moment(self.at)}", *back]
        said = [self.detail] * bool(self.detail) + [since, *back]
        if self.assets:
            more = len(self.assets) - _FIRST_ASSETS
            first = ", ".join(self.assets[:_FIRST_ASSETS]) + (f" and {more} more" if more > 0 else "")
            said.append(f"held back or stale by it: {len(self.assets)} asset{'s' * (len(self.assets) > 1)}: {first}")
        return [*said, f"look closer: {self.command}", f"runbook: docs/runbooks/{self.runbook}.md"]

    def to_json(self) -> str:
        """All of it, as `from_json` takes it and as a generic webhook gets it."""
        lasted = None if self.lasted is None else round(self.lasted.total_seconds(), 3)
        times = {"since": self.since.isoformat(), "at": self.at.isoformat()}
        plain: dict[str, Any] = {**asdict(self), **times}
        del plain["lasted"]
        return json.dumps({**plain, "lasted_s": lasted})

    @classmethod
    def from_json(cls, text: str) -> "Message":
        """What `to_json` wrote."""
        plain: dict[str, Any] = json.loads(text)
        lasted = plain.pop("lasted_s")
        plain |= {name: datetime.fromisoformat(plain[name]) for name in ("since", "at")}
        plain |= {"assets": tuple(plain["assets"]), "lasted": None if lasted is None else timedelta(seconds=lasted)}
        return cls(**plain)


@dataclass(frozen=True)
class Channel:
    """One place to tell people. `name` (variable and number) is all that is ever written down of it."""

    name: str
    form: Literal["slack", "json", "mail"]
    endpoint: Endpoint
    sender: str = field(default="", repr=False)
    recipient: str = field(default="", repr=False)

    def send(self, message: Message) -> None:
        """Tell it; raises Undelivered unless the other side has taken it."""
        if self.form == "mail":
            send_mail(self.endpoint, _as_mail(message, self.sender, self.recipient))
            return
        body = json.dumps(_as_slack(message)) if self.form == "slack" else message.to_json()
        request(
            self.endpoint, "POST", body.encode(), {"Content-Type": "application/json", "Idempotency-Key": message.id}
        )


class Routes:
    """Which channels an owner's alerts go to.

    declared: variable -> comma-separated URLs; `PLATFORM_ALERT` for all owners, `PLATFORM_ALERT_<OWNER>` instead of it
    for one. hosts: comma-separated hosts, with or without port, that may be contacted; no other ever is.
    unasked: variables that are set, but whose URLs nobody asked for, because nothing is to be sent.
    Raises ConfigurationError, naming variable, host and remedy, where a channel cannot be used.
    """

    def __init__(
        self, declared: Mapping[str, str], hosts: str, heartbeat: str | None = None, unasked: Collection[str] = ()
    ) -> None:
        allowed = _Allowed(hosts)
        self._unasked = frozenset(unasked)
        self._channels = {
            variable: tuple(
                _channel(f"{variable}#{number}", variable, url, allowed)
                for number, url in enumerate(filter(None, map(str.strip, urls.split(","))), start=1)
            )
            for variable, urls in declared.items()
        }
        self.heartbeat: Endpoint | None = None
        if heartbeat is not None:
            split = _split(HEARTBEAT, "it", heartbeat, ("https", "http"))
            self.heartbeat = allowed.endpoint(HEARTBEAT, "it", split)

    def of(self, owner: str) -> tuple[Channel, ...]:
        """The owner's own channels, or those for everybody."""
        return self._channels.get(variable_of(owner)) or self._channels.get(DEFAULT, ())

    def all(self) -> dict[str, Channel]:
        """Every channel by its name."""
        return {channel.name: channel for channels in self._channels.values() for channel in channels}

    def configured(self, channel: str) -> bool:
        """Whether there is, or may be, a channel of that name."""
        return channel in self.all() or channel.partition("#")[0] in self._unasked

    @property
    def pings(self) -> bool:
        """Whether a service expects the heartbeat."""
        return self.heartbeat is not None or HEARTBEAT in self._unasked


def variable_of(owner: str) -> str:
    """The setting that names an owner's channels: team:sales -> PLATFORM_ALERT_TEAM_SALES."""
    return f"{DEFAULT}_{re.sub(r'[^A-Z0-9]+', '_', owner.upper()).strip('_')}"


def moment(at: datetime) -> str:
    """A time as a person reads it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def spoken(lasted: timedelta) -> str:
    """A span of time as a person says it, by its two largest units."""
    seconds = max(int(lasted.total_seconds()), 0)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


class _Allowed:
    """Hosts that may be contacted.

    `host` alone: at the scheme's usual ports, and only where it leads to public addresses. `host:port`: at that port,
    wherever it leads, as whoever writes the port means that very service. An IP address is itself in any case.
    """

    def __init__(self, listed: str) -> None:
        self._listed = listed
        self._hosts: set[tuple[str, int | None]] = set()
        for entry in filter(None, map(str.strip, listed.split(","))):
            try:
                split = urlsplit(f"//[{entry}]" if entry.count(":") > 1 and "[" not in entry else f"//{entry}")
                host, port = split.hostname, split.port
            except ValueError:
                host, port = None, None
            if not host or split.path or "@" in entry or "*" in entry:
                raise ConfigurationError(
                    HOSTS, "one of its entries is no host", "Give hosts, such as hooks.slack.com,alerts.intern:8443."
                )
            self._hosts.add((host, port))

    def endpoint(self, variable: str, which: str, url: SplitResult) -> Endpoint:
        """Where a URL leads, if it may be contacted."""
        scheme = url.scheme.removeprefix("slack+")
        host = url.hostname or ""
        literal = _ip(host)
        port = url.port or _PORTS[scheme][0]
        if (host, port) not in self._hosts and ((host, None) not in self._hosts or port not in _PORTS[scheme]):
            needed = host if port in _PORTS[scheme] else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise ConfigurationError(
                variable,
                f"{which} leads to {needed}, which alerts may not contact",
                f"Add {needed} to {HOSTS} (now: {self._listed or 'empty'}), if that is where alerts shall go.",
            )
        reach: Reach = "any" if literal is not None or (host, port) in self._hosts else "public"
        if scheme == "http":
            if host != "localhost" and not (literal is not None and literal.is_loopback):
                raise ConfigurationError(
                    variable,
                    f"{which} is plain http to {host}",
                    "Use https; plain http is for a service on this machine only.",
                )
            reach = "loopback"
        return Endpoint(
            scheme=cast("Literal['http', 'https', 'smtp', 'smtps']", scheme),
            host=host,
            port=port,
            reach=reach,
            target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
            user=None if url.username is None else unquote(url.username),
            password=unquote(url.password or ""),
        )


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _split(variable: str, which: str, url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of a URL; says what is wrong with it without repeating it."""
    wrong = ""
    try:
        split = urlsplit(url)
        if split.scheme not in schemes:
            wrong = f"does not begin with one of {', '.join(f'{scheme}://' for scheme in schemes)}"
        elif not split.hostname or split.port == 0:
            wrong = "names no host"
    except ValueError:
        wrong = "is no URL"
    if not all("!" <= character <= "~" for character in url):
        wrong = "holds blanks or characters that a URL must write as %.."
    if wrong:
        raise ConfigurationError(variable, f"{which} {wrong}", "See docs/how-to/alerts.md for what channels look like.")
    return split


def _channel(name: str, variable: str, url: str, allowed: _Allowed) -> Channel:
    which = f"channel {name.partition('#')[2]}"
    split = _split(variable, which, url, tuple(_FORMATS))
    endpoint = allowed.endpoint(variable, which, split)
    form = cast("Literal['slack', 'json', 'mail']", _FORMATS[split.scheme])
    if form != "mail":
        return Channel(name, form, endpoint)
    asked = parse_qs(split.query)
    addresses = [asked.get(part, []) for part in ("from", "to")]
    if not all(len(each) == 1 and _ADDRESS.fullmatch(each[0]) for each in addresses):
        raise ConfigurationError(
            variable,
            f"{which} needs one address to send from and one to send to",
            "End it with /?to=a@x.org&from=b@x.org; for a second recipient, add a second channel.",
        )
    return Channel(name, form, endpoint, sender=addresses[0][0], recipient=addresses[1][0])


def _as_slack(message: Message) -> dict[str, Any]:
    """Slack's blocks, and the whole as text for what is only compatible with Slack."""
    lines = [_escaped(line) for line in message.lines]
    headline = _escaped(message.headline)

    def section(text: str) -> dict[str, Any]:
        return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}

    return {
        "text": "\n".join([f"*{headline}*", *lines]),
        "blocks": [section(f"*{_cut(headline, _BLOCK_CHARS)}*"), section(_cut("\n".join(lines), _BLOCK_CHARS))],
    }


def _escaped(text: str) -> str:
    """Data as text: no link, no mention, nobody woken by a file's name."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("@\u200b", safe)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    # Never within an entity.
    return re.sub(r"&[a-z]{0,4}$", "", text[: most - 1]) + "…"


def _as_mail(message: Message, sender: str, recipient: str) -> EmailMessage:
    made = EmailMessage(policy=SMTP)
    made["Subject"] = _cut(" ".join(f"[{message.owner}] {message.headline}".split()), _HEADER_CHARS)
    made["From"] = sender
    made["To"] = recipient
    made["Date"] = message.at
    made["Message-ID"] = f"<{message.id}@platform-assets>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content("\n".join([message.headline, "", *message.lines, ""]))
    return made
