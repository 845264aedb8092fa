"""The door: the addresses a UI listens at, by which names it is known, and that a home has one UI only.

Belongs here: what is found out before anything starts: port, lock, TLS. Elsewhere: who may come in (guard.py).
Light: a taken port is told before Dagster is imported.
"""

import contextlib
import errno
import ipaddress
import secrets
import socket
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.durable.held import Place, Taken, held, holder
from platform_assets.errors import LONGEST_SHOWN, ConfigurationError, printable
from platform_assets.settings import UiSettings

# A browser looks for localhost at two addresses.
_BESIDE: Final = {"127.0.0.1": "::1", "::1": "127.0.0.1", "0.0.0.0": "::1"}  # noqa: S104
_NO_SUCH_ADDRESS: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PRIVATE: Final = 0o700
_SHORTEST_TOKEN: Final = 16
_HIGHEST_PORT: Final = 65535
_WHICH: Final = "Give one from 1024 to 65535, such as 3000."


@dataclass(frozen=True)
class Door:
    """Where a UI listens and what it is called there. shared: everything is read-only, and people have names.

    name: one that nobody else knows, for as long as the UI runs. Browsers look for it on this machine, as for every
    name below localhost. Cookies know no ports: another user's server here gets those of 127.0.0.1, and none of this.
    """

    host: str
    port: int
    shared: bool
    settings: UiSettings
    token: str | None = field(repr=False)
    listening: tuple[socket.socket, ...] = field(repr=False, compare=False)
    name: str = field(default_factory=lambda: f"{secrets.token_hex(16)}.localhost", repr=False)

    @property
    def scheme(self) -> str:
        return "https" if self.settings.certificate else "http"

    @property
    def url(self) -> str:
        """What a person opens: a declared name where others come in, or one of this machine's own that only the browser
        knows (`x.localhost`), whose cookies go to no other server of it."""
        host = "127.0.0.1" if self._everywhere else self.host
        if self._at_localhost and not self.settings.certificate:  # which is for names that are known
            host = self.name
        first, *_ = (*self.settings.hosts, "")
        if first and (not is_loopback(self.address) or first.partition(":")[0].endswith(".localhost")):
            host = first
        named = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
        return f"{self.scheme}://{named if _has_port(named) else f'{named}:{self.port}'}"

    @property
    def address(self) -> str:
        return str(self.listening[0].getsockname()[0])

    def hosts(self) -> frozenset[str]:
        """What a request may call this server: `Host` in lower case."""
        names = {self.host.lower()} if not self._everywhere else set()
        if self._at_localhost:
            names |= {"localhost", "127.0.0.1", self.name}
            names |= {"::1"} if any(each.family == socket.AF_INET6 for each in self.listening) else set()
        named = {f"[{name}]" if ":" in name else name for name in names}
        declared = {name.lower() for name in self.settings.hosts}
        found = declared | {f"{name}:{self.port}" for name in named | {d for d in declared if not _has_port(d)}}
        return frozenset(found | (named if self.port == _DEFAULT_PORTS[self.scheme] else set()))

    @property
    def missing(self) -> str | None:
        """The address of localhost that this machine does not have."""
        return _BESIDE.get(self.address) if len(self.listening) == 1 else None

    def may_come_from(self, client: str) -> bool:
        """Whether nothing that this address sends travels in the clear."""
        return self.scheme == "https" or client in self.settings.proxies or is_loopback(client)

    def close(self) -> None:
        """Listen no more."""
        for each in self.listening:
            each.close()

    @property
    def _at_localhost(self) -> bool:
        return self._everywhere or self.address in _BESIDE

    @property
    def _everywhere(self) -> bool:
        return ipaddress.ip_address(self.address).is_unspecified


def opened(host: str, port: int, settings: UiSettings, *, shared: bool) -> Door:
    """Listen at once, so that a port that cannot be had is told before anything starts; raises ConfigurationError."""
    token = _checked(settings)
    try:
        listening = _listening(host, port)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError("--share", f"{host!r} is no address: {error}", "Give one of this machine.") from None
    except OSError as error:
        if error.errno == errno.EACCES:
            raise ConfigurationError(f"port {port}", "only root may listen there", _WHICH) from None
        taken = f"is taken at {error.filename}{_by_whom(port)}"
        why = taken if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
        raise ConfigurationError(f"port {port}", why, "Give another: platform ui --port 3001") from None
    door = Door(host, listening[0].getsockname()[1], shared, settings, token, listening)
    if not (is_loopback(door.address) or settings.certificate or settings.proxies):
        door.close()
        raise ConfigurationError(
            "--share",
            f"{host} can be reached from other machines, and passwords would travel in the clear",
            "Set PLATFORM_UI_CERTIFICATE and PLATFORM_UI_KEY, or PLATFORM_UI_PROXY where a proxy does TLS.",
        )
    return door


def port_of(text: str) -> int:
    """The port that somebody has typed; raises ConfigurationError where it is none."""
    if not (text.isascii() and text.isdecimal() and int(text[:9]) <= _HIGHEST_PORT):
        raise ConfigurationError("--port", f"{printable(text, LONGEST_SHOWN)!r} is no port", _WHICH)
    return int(text)


def _by_whom(port: int) -> str:
    """Which process listens there, as far as this user may know."""
    import psutil  # where all is well, nothing of it is needed

    with contextlib.suppress(psutil.Error, OSError):
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and tuple(each.laddr)[1:2] == (port,) and each.pid is not None:
                return f" by process {each.pid} ({printable(psutil.Process(each.pid).name(), LONGEST_SHOWN)})"
    return ""


def _listening(host: str, port: int) -> tuple[socket.socket, ...]:
    """Sockets of that address and, where localhost leads there, of localhost's other one: no other user may have it."""
    first = _bound(host, port)
    at, port = first.getsockname()[:2]
    if at not in _BESIDE:
        return (first,)
    try:
        return first, _bound(_BESIDE[at], port)
    except OSError as error:
        if error.errno in _NO_SUCH_ADDRESS:  # this machine has it not, and so nobody here
            return (first,)
        first.close()
        raise


def _bound(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        raise OSError(error.errno, error.strerror, address[0]) from None
    return made


def _checked(settings: UiSettings) -> str | None:
    """The token. Raises ConfigurationError where a setting is of no use."""
    token = settings.token.reveal() if settings.token is not None else None
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ConfigurationError(
            "PLATFORM_UI_TOKEN",
            f"it is shorter than {_SHORTEST_TOKEN} characters, and could be guessed",
            "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if settings.proxy_header and not token and any(map(is_loopback, settings.proxies)):
        raise ConfigurationError(
            "PLATFORM_UI_TOKEN",
            "is not set, and a proxy on this machine could be anybody here",
            "Set it, and let the proxy send it as `Authorization: Bearer …`.",
        )
    if settings.proxy_header and not settings.proxies:
        raise ConfigurationError(
            "PLATFORM_UI_PROXY", "is not set, and nobody's header would be believed", "Give the proxy's IP address."
        )
    if not settings.certificate:
        return token
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            "PLATFORM_UI_CERTIFICATE",
            f"{settings.certificate} and its key cannot be used: {getattr(error, 'reason', None) or error}",
            "Give a PEM file with the certificate and its chain, and PLATFORM_UI_KEY with the key, without a password.",
        ) from None
    return token


def is_loopback(address: str) -> bool:
    """Whether only this machine can have that address."""
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(address)
        mapped = getattr(found, "ipv4_mapped", None)
        return (mapped or found).is_loopback
    return False


def _has_port(name: str) -> bool:
    return ":" in name and name.rpartition(":")[2].isdecimal()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Place]:
    """Hold a home's one place for a UI, which then says its `url` there; ConfigurationError at once where another has
    it."""
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(held(_lock(folder)))
        except Taken as taken:
            where = f"{_at(taken.said)} (process {taken.said.get('pid', 'unknown')})"
            raise ConfigurationError(
                str(folder.parent.parent), f"a UI runs on it already: {where}", "Log in: platform ui --login"
            ) from None
        yield place


def running(folder: Path) -> str | None:
    """The URL of the UI that holds that place; None if nobody does."""
    said = holder(_lock(folder))
    return None if said is None else _at(said)


def _at(said: Mapping[str, Any]) -> str:
    return str(said.get("url", "its address is not known yet"))


def _lock(folder: Path) -> Path:
    private(folder.parent)
    return private(folder) / "lock"


def private(folder: Path) -> Path:
    """The folder, made if need be, which nobody but its owner can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) != _PRIVATE:
        folder.chmod(_PRIVATE)
    return folder
