"""The only reader (and, for child processes, writer) of the environment.

Belongs here: every setting, its default and its check. Elsewhere: what a setting is used for.
"""

import ipaddress
import os
import pwd
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath

from platform_assets.errors import ConfigurationError, nearest
from platform_assets.secrets import ALERT, ALERT_HOSTS, Secret, is_secret, secret, secrets

PROJECT = Path(__file__).resolve().parent.parent
_FEED_FILES_PREFIX = "PLATFORM_FEED_"
_FEED_FILES_SUFFIX = "_FILES"
RELEASES_GROUP = "PLATFORM_RELEASES_GROUP"
DISK_FLOOR = "PLATFORM_DISK_FLOOR"
_OURS = "PLATFORM_"
_LOGIN = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1
_PRIVATE = 0o077


def import_nothing_from_here() -> None:
    """Drop from the import path what a relative or empty part of PYTHONPATH put there: the working directory."""
    if search := os.environ.get("PYTHONPATH"):
        parts = [Path(part) for part in search.split(os.pathsep)]
        relative = {str(part.absolute()) for part in parts} - {str(part) for part in parts if part.is_absolute()}
        sys.path[:] = [path for path in sys.path if path not in relative]


def protect_process() -> None:
    """Let no other user of the machine read what this process and its children write, and let them import nothing from
    the folder that they happen to be started in."""
    os.umask(_PRIVATE)
    import_nothing_from_here()
    os.environ["PYTHONSAFEPATH"] = "1"
    if (path := os.environ.pop("PYTHONPATH", None)) is not None:
        absolute = [part for part in path.split(os.pathsep) if Path(part).is_absolute()]
        os.environ["PYTHONPATH"] = os.pathsep.join(absolute)


@dataclass(frozen=True)
class AlertSettings:
    """Where alerts go. channels: variable -> comma-separated URLs, which are secret. hosts: who may be contacted."""

    channels: Mapping[str, Secret] = field(default_factory=dict)
    hosts: str = "hooks.slack.com"
    heartbeat: Secret | None = None


@dataclass(frozen=True)
class UiSettings:
    """Who may open the UI, and how. hosts: names it is known by, beside this machine's own. proxies: addresses of
    proxies whose header `proxy_header` says who somebody is."""

    hosts: tuple[str, ...] = ()
    token: Secret | None = None
    certificate: Path | None = None
    key: Path | None = None
    proxies: tuple[str, ...] = ()
    proxy_header: str | None = None

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "UiSettings":
        """Read and check them; a wrong one raises ConfigurationError naming its key."""
        certificate, key = env.get("PLATFORM_UI_CERTIFICATE") or None, env.get("PLATFORM_UI_KEY") or None
        if bool(certificate) != bool(key):
            raise ConfigurationError(
                "PLATFORM_UI_KEY" if certificate else "PLATFORM_UI_CERTIFICATE",
                "is not set, and the other of the two is",
                "TLS needs both: the certificate and its key, as PEM files.",
            )
        proxies = _listed(env.get("PLATFORM_UI_PROXY"))
        for each in proxies:
            try:
                ipaddress.ip_address(each)
            except ValueError:
                raise ConfigurationError(
                    "PLATFORM_UI_PROXY", f"{each!r} is no IP address", "Give the proxy's address, such as 10.0.0.5."
                ) from None
        return cls(
            hosts=_listed(env.get("PLATFORM_UI_HOSTS")),
            token=secret(env, "PLATFORM_UI_TOKEN"),
            certificate=Path(certificate).expanduser().absolute() if certificate else None,
            key=Path(key).expanduser().absolute() if key else None,
            proxies=proxies,
            proxy_header=(env.get("PLATFORM_UI_PROXY_HEADER") or "").lower() or None,
        )


@dataclass(frozen=True)
class Settings:
    """What the environment says of this deployment: each variable, what it is without one, and an example.

    PLATFORM_HOME: all state: warehouse, archive, releases, Dagster's storage.
        Default: `.platform` in the project. Example: `/srv/platform/home`
    PLATFORM_LANDING: where deliveries arrive. Patterns of feeds are relative to it; only `platform simulate` writes
        there.
        Default: `landing` in the project. Example: `/srv/platform/landing`
    PLATFORM_RELEASES_GROUP: a group of this machine whose members may read the releases. Other users can read nothing
        in `PLATFORM_HOME`.
        Default: none. Example: `analysts`
    PLATFORM_FEED_<NAME>_FILES: another pattern for one feed; its name in capitals.
        Default: the feed's declaration. Example: `by-day/*.csv`
    PLATFORM_LOCK_WAIT_S: how long to wait for another process to let go of the warehouse, in seconds.
        Default: `60`. Example: `300`
    PLATFORM_DISK_FLOOR: how much of the disk of `PLATFORM_HOME` is kept free, as a size or a share: with less nothing
        new is claimed, and files wait.
        Default: 1 GB, or 5 % of the disk where that is less. Example: `20GB`
    PLATFORM_ALERT: where alerts go: URLs of channels, with commas between them. A secret.
        Default: nowhere. Example: `slack+https://hooks.slack.com/services/…`
    PLATFORM_ALERT_<OWNER>: where alerts of one owner go instead: `team:sales` is `PLATFORM_ALERT_TEAM_SALES`. A secret.
        Default: `PLATFORM_ALERT`. Example: `smtp://user:password@mail.example.org:587/?to=a@example.org&from=b@example.org`
    PLATFORM_ALERT_HOSTS: the only hosts that are ever contacted, with commas between them.
        Default: `hooks.slack.com`. Example: `hooks.slack.com,mail.example.org`
    PLATFORM_HEARTBEAT: a URL that is asked for once a minute, so that another service notices when the platform is
        dead. A secret.
        Default: none. Example: `https://hc-ping.example.org/…`
    PLATFORM_ERASE_KEY: the key by which erased persons are known, and their certificates signed. A secret.
        Default: none; nobody can be erased. Example: what `openssl rand -hex 32` gives
    PLATFORM_PSEUDONYM_KEY: the key of the pseudonyms that releases have in the place of personal data. A secret.
        Default: none; a product that declares pseudonyms is not released. Example: what `openssl rand -hex 32` gives
    PLATFORM_UI_HOSTS: names by which the UI may be opened beside 127.0.0.1 and localhost, with commas between them.
        Default: none. Example: `data.example.org,data.example.org:8443`
    PLATFORM_UI_TOKEN: what a program sends instead of a login, as `Authorization: Bearer …`. A secret.
        Default: none; no program gets in. Example: `b7wZ…`
    PLATFORM_UI_CERTIFICATE: the certificate with which the UI speaks TLS, with its chain; a PEM file.
        Default: none; plain HTTP. Example: `/etc/platform/ui.pem`
    PLATFORM_UI_KEY: the certificate's key; a PEM file.
        Default: none. Example: `/etc/platform/ui.key`
    PLATFORM_UI_PROXY: IP addresses of the proxies before `platform ui --share`, with commas between them. One on this
        machine has to send the token, too.
        Default: none. Example: `10.0.0.5`
    PLATFORM_UI_PROXY_HEADER: the header in which the proxy says who somebody is. From anybody else it is refused.
        Default: none; users have passwords. Example: `X-Forwarded-User`
    PLATFORM_AUDIT_KEY: what the audit log is signed with, so that who lacks it can change nothing unnoticed. Once set,
        it has to stay. A secret.
        Default: none: the log is chained by plain hashes. Example: `4f3c…` (`openssl rand -hex 32`)
    DAGSTER_HOME: Dagster's own storage.
        Default: `dagster` in `PLATFORM_HOME`. Example: `/srv/platform/dagster`
    PLATFORM_FAILPOINT: for tests: the point at which the process kills itself.
        Default: none. Example: `before-commit`
    """

    home: Path
    landing: Path
    dagster_home: Path
    releases_group: str | None = None
    feed_files: Mapping[str, str] = field(default_factory=dict)
    failpoint: str | None = None
    lock_wait: timedelta = timedelta(seconds=60)
    disk_floor: str | None = None
    alerts: AlertSettings = field(default_factory=AlertSettings)
    erase_key: Secret | None = None
    pseudonym_key: Secret | None = None
    ui: UiSettings = field(default_factory=UiSettings)
    audit_key: Secret | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read and check the settings; a wrong one raises ConfigurationError naming its key."""
        env = os.environ
        _refuse_misspelt(env)
        home = Path(env.get("PLATFORM_HOME") or PROJECT / ".platform").expanduser().absolute()
        landing = Path(env.get("PLATFORM_LANDING") or PROJECT / "landing").expanduser().absolute()
        dagster_home = Path(env.get("DAGSTER_HOME") or home / "dagster").expanduser().absolute()
        feed_files = {}
        for key, value in env.items():
            if key.startswith(_FEED_FILES_PREFIX) and key.endswith(_FEED_FILES_SUFFIX) and value:
                pattern = PurePosixPath(value)
                if pattern.is_absolute() or ".." in pattern.parts:
                    raise ConfigurationError(
                        key,
                        f"{value!r} leaves the landing folder",
                        "Give a pattern relative to PLATFORM_LANDING, such as by-day/*.csv, "
                        "and point PLATFORM_LANDING at the folder above it.",
                    )
                feed_files[key.removeprefix(_FEED_FILES_PREFIX).removesuffix(_FEED_FILES_SUFFIX).lower()] = value
        wait = env.get("PLATFORM_LOCK_WAIT_S") or "60"
        try:
            lock_wait = timedelta(seconds=float(wait))
        except ValueError:
            raise ConfigurationError(
                "PLATFORM_LOCK_WAIT_S", f"{wait!r} is not a number of seconds", "Give a number, such as 60."
            ) from None
        return cls(
            home=home,
            landing=landing,
            dagster_home=dagster_home,
            releases_group=env.get(RELEASES_GROUP) or None,
            feed_files=feed_files,
            failpoint=env.get("PLATFORM_FAILPOINT") or None,
            lock_wait=lock_wait,
            erase_key=secret(env, "PLATFORM_ERASE_KEY"),
            pseudonym_key=secret(env, "PLATFORM_PSEUDONYM_KEY"),
            disk_floor=env.get(DISK_FLOOR) or None,
            alerts=AlertSettings(
                channels={each.name: each for each in secrets(env, ALERT)},
                hosts=env.get(ALERT_HOSTS) or AlertSettings.hosts,
                heartbeat=secret(env, "PLATFORM_HEARTBEAT"),
            ),
            ui=UiSettings.read(env),
            audit_key=secret(env, "PLATFORM_AUDIT_KEY"),
        )

    def export(self) -> None:
        """Let child processes (dbt, Dagster's runs) and libraries see the same folders as this process."""
        os.environ["PLATFORM_HOME"] = str(self.home)
        os.environ["PLATFORM_LANDING"] = str(self.landing)
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)


def secret_named(name: str) -> Secret | None:
    """The secret of a name that a declaration says, from the one of its three variables that is set."""
    return secret(os.environ, name)


def settings_not_known() -> list[str]:
    """What the environment and .env name as settings that are none; one that is misspelt raises ConfigurationError."""
    try:
        lines = (PROJECT / ".env").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = [name for line in lines if (name := line.strip().removeprefix("export ").partition("=")[0].strip())]
    _refuse_misspelt(named)
    return _unknown([*os.environ, *named])


def _refuse_misspelt(names: Iterable[str]) -> None:
    """Raise ConfigurationError for a name that is no setting, and so near one that it is meant."""
    for name in _unknown(names):
        if near := nearest(name.removeprefix(_OURS), _suffixes(name), alike=0.75):
            right = near.split("'")[1]
            raise ConfigurationError(
                name, f"there is no such setting. Did you mean '{_OURS}{right}'?", f"Write {_OURS}{right}, or unset it."
            )


def _unknown(names: Iterable[str]) -> list[str]:
    """Those that begin as a setting does and are none."""
    known = {f"{_OURS}{each}" for each in _suffixes("")}
    found = []
    for name in sorted(set(names)):
        bare = name.removesuffix("_FILE").removesuffix("_COMMAND")
        is_pattern = name.startswith(_FEED_FILES_PREFIX) and name.endswith(_FEED_FILES_SUFFIX)
        is_known = name in known or is_pattern or is_secret(name) or is_secret(bare)
        # One letter less than PLATFORM_ALERT_HOSTS would be another owner's channel.
        if name.startswith(_OURS) and (not is_known or name == ALERT_HOSTS.removesuffix("S")):
            found.append(name)
    return found


def _suffixes(name: str) -> list[str]:
    """What settings are called after PLATFORM_; one of a feed's has its name."""
    named = re.findall(r"^ +PLATFORM_(\w+):", Settings.__doc__ or "", re.MULTILINE)
    if name.startswith(_FEED_FILES_PREFIX):
        feed = name.removeprefix(_FEED_FILES_PREFIX).rpartition("_")[0] or name.removeprefix(_FEED_FILES_PREFIX)
        named.append(f"FEED_{feed}_FILES")
    return named


def person() -> str:
    """Who is at the command line, for the audit log: `os:anna`.

    Who logged in, as the kernel knows it, also after `sudo`; else the user of this process. No variable of the
    environment decides, for anybody can set one.
    """
    uid = os.getuid()
    try:
        logged_in = int(_LOGIN.read_text())
    except (OSError, ValueError):  # not Linux, or a kernel that keeps no such record
        logged_in = _NO_LOGIN
    uid = uid if logged_in == _NO_LOGIN else logged_in
    try:
        return f"os:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"os:{uid}"


def _listed(value: str | None) -> tuple[str, ...]:
    return tuple(each.strip() for each in (value or "").split(",") if each.strip())
