"""Network: one HTTP request or one mail to a server that may be slow, dead, hostile or not the one that is meant.

urllib3 and smtplib speak, over a connection to an address that was checked first, and that is cut off in time.
Belongs here: which addresses are allowed, bounds of time and size, reasons. Elsewhere: what is sent (channels.py).
URLs and passwords are secrets: a reason never repeats a text of a library or a server.
"""

import base64
import ipaddress
import logging
import os
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from typing import Final, Literal

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

Reach = Literal["public", "loopback", "any"]

WAIT_S: Final = 5.0
"""The longest silence: connecting, or waiting for the next bytes of an answer."""
EXCHANGE_S: Final = 15.0
"""The longest exchange, however steadily its bytes trickle."""
_ANSWER_BYTES: Final = 1000
_LATER: Final = (408, 425, 429)
# What Slack says when a webhook will not work; other text of a server is not repeated.
_SLACK_REASONS: Final = re.compile(
    "action_prohibited|channel_(is_archived|not_found)|invalid_(blocks|payload|token)|no_(active_hooks|service|service_id"
    "|team|text)|posting_to_general_channel_denied|team_disabled|user_not_found"
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# urllib3 logs the whole URL with an answer whose headers make no sense; ours are secrets.
logging.getLogger("urllib3.connection").addFilter(lambda _: False)


@dataclass(frozen=True)
class Endpoint:
    """Where to connect. `reach` says which addresses its host may turn out to have; what is secret is not shown."""

    scheme: Literal["http", "https", "smtp", "smtps"]
    host: str
    port: int
    reach: Reach
    target: str = field(default="/", repr=False)
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def encrypted(self) -> bool:
        """Whether it is TLS from the first byte."""
        return self.scheme in ("https", "smtps")


class Undelivered(Exception):
    """The server did not take it.

    reason: why, in our own words. answered: it said so itself. final: asking again will hardly help. later: how long
    it asked us to wait.
    """

    def __init__(
        self, reason: str, *, answered: bool = False, final: bool = False, later: timedelta | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered
        self.final = final
        self.later = later


def request(
    endpoint: Endpoint, method: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> None:
    """One HTTP request. Raises Undelivered unless the answer is 2xx; a redirect is an answer, and not followed."""
    sent = {"Connection": "close", "User-Agent": "platform-assets", **(headers or {})}
    if endpoint.user is not None:  # in UTF-8, which urllib3's own helper cannot
        login = base64.b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()
        sent["Authorization"] = f"Basic {login}"
    kind = HTTPSConnection if endpoint.encrypted else HTTPConnection
    with _exchange(endpoint) as connected, closing(kind(endpoint.host, endpoint.port, timeout=WAIT_S)) as client:
        # The way of urllib3's own SOCKS client: no second answer of DNS counts.
        client._new_conn = lambda: connected  # type: ignore[method-assign]
        client.request(method, endpoint.target, body, sent, preload_content=False, decode_content=False)
        answer = client.getresponse()
        text = answer.read(_ANSWER_BYTES).decode("ascii", "replace").strip()
    if not 200 <= answer.status < 300:
        _refused(answer.status, text, answer.headers.get("Retry-After"))


def send_mail(endpoint: Endpoint, message: EmailMessage) -> None:
    """Hand one mail to an SMTP server, by STARTTLS where it is offered. Raises Undelivered unless it took it."""
    with _exchange(endpoint) as connected:
        safe = endpoint.encrypted or ipaddress.ip_address(connected.getpeername()[0]).is_loopback
        try:
            with closing(_Smtp(endpoint, connected)) as client:
                client.ehlo_or_helo_if_needed()
                if not endpoint.encrypted and client.has_extn("starttls"):
                    client.starttls(context=ssl.create_default_context())
                    safe = True
                if endpoint.user is not None:
                    if not safe:
                        raise Undelivered("it offers no STARTTLS, and a password is not sent in the clear", final=True)
                    client.login(endpoint.user, endpoint.password)
                client.send_message(message)
                # It has taken the mail: what comes after that cannot untake it.
                with suppress(OSError, smtplib.SMTPException):
                    client.quit()
        except smtplib.SMTPRecipientsRefused as error:
            code = min(code for code, _ in error.recipients.values())
            raise Undelivered(f"it refused the recipient ({code})", answered=True, final=code >= 500) from None
        except smtplib.SMTPResponseException as error:
            what = "the password" if isinstance(error, smtplib.SMTPAuthenticationError) else "the mail"
            code = error.smtp_code
            raise Undelivered(f"it refused {what} ({code})", answered=True, final=500 <= code < 600) from None


class _Smtp(smtplib.SMTP):
    """smtplib's client over a connection that is there already."""

    def __init__(self, endpoint: Endpoint, connected: socket.socket) -> None:
        self._endpoint = endpoint
        self._connected = connected
        # A name of our own, as smtplib would ask DNS for it, for as long as DNS likes.
        super().__init__(endpoint.host, endpoint.port, local_hostname=socket.gethostname(), timeout=WAIT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's
        if not self._endpoint.encrypted:
            return self._connected
        return ssl.create_default_context().wrap_socket(self._connected, server_hostname=host)


@contextmanager
def _exchange(endpoint: Endpoint) -> Iterator[socket.socket]:
    """A connection that is cut when its time is up; whatever goes wrong with it becomes Undelivered."""
    connected = _connect(endpoint)
    cutting = connected.dup()
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):
            cutting.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(EXCHANGE_S, cut)
    watch.daemon = True
    watch.start()
    try:
        yield connected
    except Undelivered:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises may repeat the URL or the password
        reason = f"no whole answer within {EXCHANGE_S:.0f} s" if late.is_set() else _reason_of(error)
        raise Undelivered(reason) from None
    finally:
        watch.cancel()
        cutting.close()
        connected.close()


def _connect(endpoint: Endpoint) -> socket.socket:
    """Connect to one of the host's addresses: to just that which was judged, so that no second answer of DNS counts."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undelivered("its host name cannot be resolved") from None
    allowed = [(family, address) for family, *_, address in found if _within(endpoint.reach, str(address[0]))]
    if not allowed:
        where = "outside this machine" if endpoint.reach == "loopback" else "inside the network"
        raise Undelivered(f"its host name leads to an address {where}, which is not allowed", final=True)
    reason = ""
    until = time.monotonic() + EXCHANGE_S
    for family, address in allowed:
        left = until - time.monotonic()
        if left <= 0:
            break
        connected = socket.socket(family, socket.SOCK_STREAM)
        connected.settimeout(min(WAIT_S, left))
        try:
            connected.connect(address)
        except OSError as error:
            connected.close()
            reason = _reason_of(error)
        else:
            connected.settimeout(WAIT_S)
            return connected
    raise Undelivered(reason)


def _within(reach: Reach, address: str) -> bool:
    ip = _meant(ipaddress.ip_address(address))
    if reach == "loopback":
        return ip.is_loopback
    return reach == "any" or (ip.is_global and not ip.is_multicast and not ip.is_reserved)


def _meant(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address is another way of writing."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip


def _refused(status: int, text: str, retry_after: str | None) -> None:
    reason = f"it answered {status}"
    if _SLACK_REASONS.fullmatch(text):
        reason += f" {text}"
    if 300 <= status < 400:
        reason += ", a redirect, which is not followed"
    final = 300 <= status < 500 and status not in _LATER
    raise Undelivered(reason, answered=True, final=final, later=_asked_for(retry_after))


def _asked_for(retry_after: str | None) -> timedelta | None:
    """The time that a Retry-After header asks for: seconds, or a date; a day at most."""
    if retry_after is None:
        return None
    try:
        return timedelta(seconds=urllib3.Retry(retry_after_max=86_400).parse_retry_after(retry_after))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None


def _reason_of(error: Exception) -> str:
    match error:
        case (
            TimeoutError()
            | urllib3.exceptions.TimeoutError()
            | smtplib.SMTPServerDisconnected(__context__=TimeoutError())
        ):
            return f"no answer within {WAIT_S:.0f} s"
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError() | urllib3.exceptions.SSLError():
            return "TLS failed"
        case ConnectionError() | smtplib.SMTPServerDisconnected() | urllib3.exceptions.ProtocolError():
            return "the connection was lost"
        case OSError(errno=int(number)):
            return os.strerror(number)
    return f"no sensible answer ({type(error).__name__})"
