"""Secrets: settings that come from a variable, a file or a command, and are never shown.

Belongs here: which settings are secrets, and how each is come by. Elsewhere: the environment (settings.py), what a
secret is for.
"""

import os
import shlex
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from platform_assets.errors import ConfigurationError

ALERT: Final = "PLATFORM_ALERT"
ALERT_HOSTS: Final = "PLATFORM_ALERT_HOSTS"
SECRETS: Final = (
    ALERT,
    f"{ALERT}_<OWNER>",
    "PLATFORM_HEARTBEAT",
    "PLATFORM_AUDIT_KEY",
    "PLATFORM_ERASE_KEY",
    "PLATFORM_PSEUDONYM_KEY",
    "PLATFORM_UI_TOKEN",
)
"""The settings that are secrets. Each may be the variable, or come from `<NAME>_FILE`, or from `<NAME>_COMMAND`."""
_PROJECT: Final = Path(__file__).resolve().parent.parent
_FILE: Final = "_FILE"
_COMMAND: Final = "_COMMAND"
_ANSWERS_WITHIN_S: Final = 20.0
_LONGEST_SECRET: Final = 64 * 1024  # bytes
_told: dict[tuple[str, str], str] = {}
_asking: Final = threading.Lock()


class Secret:
    """A setting that is never shown: in a variable, in a file, or told by a command, which is run when it is needed."""

    def __init__(self, name: str, variable: str, env: Mapping[str, str]) -> None:
        self.name = name
        self._variable = variable
        self._value = env[variable]
        self._env = env

    def __repr__(self) -> str:
        return f"{self.name} (a secret)"

    @property
    def at_hand(self) -> bool:
        """Whether it is known without running a command."""
        return self._variable != f"{self.name}{_COMMAND}"

    def reveal(self) -> str:
        """The secret. A command is asked once in the life of a process, a file each time.

        Raises ConfigurationError, which names the setting and shows neither its value nor what a command said.
        """
        if self._variable == self.name:
            return self._value
        if self.at_hand:
            return self._text(_content(self._variable, Path(self._value).expanduser()))
        with _asking:
            known = self._variable, self._value
            if known not in _told:
                _told[known] = self._text(_answer(self._variable, self._value, self._env))
            return _told[known]

    def _text(self, content: bytes) -> str:
        try:
            text = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise ConfigurationError(self._variable, "what it gives is not UTF-8 text", "Give text.") from None
        if not text:
            raise ConfigurationError(self._variable, "what it gives is empty", f"Give the value of {self.name}.")
        return text


def secret(env: Mapping[str, str], name: str) -> Secret | None:
    """The secret of this name, from the one of its three variables that is set."""
    given = [variable for variable in (name, name + _FILE, name + _COMMAND) if env.get(variable)]
    if len(given) > 1:
        raise ConfigurationError(" and ".join(given), "are set together, and mean the same", "Leave one of them.")
    return Secret(name, given[0], env) if given else None


def secrets(env: Mapping[str, str], prefix: str) -> Iterator[Secret]:
    """The secrets whose names begin so."""
    names = {key.removesuffix(_FILE).removesuffix(_COMMAND) for key in env if key.startswith(prefix)}
    for name in sorted(filter(is_secret, names)):
        if (found := secret(env, name)) is not None:
            yield found


def is_secret(name: str) -> bool:
    """Whether the variable of this name holds a secret."""
    return name in SECRETS or (name.startswith(f"{ALERT}_") and name != ALERT_HOSTS)


def _content(variable: str, path: Path) -> bytes:
    """What the file holds, if it is one that other users can neither change nor, where that is ours to say, read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigurationError(variable, "does not lead to a regular file", "Give the path of a file.")
            # Containers mount secrets read-only and readable by everybody inside: nobody could mend that.
            ours = found.st_uid == os.geteuid() and not os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or (ours and found.st_mode & stat.S_IROTH):
                raise ConfigurationError(
                    variable, "leads to a file that other users can read or change", f"chmod 600 {path}"
                )
            content = file.read(_LONGEST_SECRET + 1)
    except OSError as error:
        raise ConfigurationError(
            variable, f"the file cannot be read: {error.strerror}", "Give the path of a file that this user can read."
        ) from None
    if len(content) > _LONGEST_SECRET:
        raise ConfigurationError(variable, f"the file is larger than {_LONGEST_SECRET} bytes", "Give a secret.")
    return content


def _answer(variable: str, command: str, env: Mapping[str, str]) -> bytes:
    """What the command writes to its standard output; no shell runs it, and it cannot ask anybody."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the one that the setting names
            shlex.split(command),
            cwd=_PROJECT,
            env={name: value for name, value in env.items() if not is_secret(name)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not written as a shell would take it"
        raise ConfigurationError(variable, f"the command cannot be run: {why}", "Name a program by its path.") from None
    try:
        said, _ = process.communicate(timeout=_ANSWERS_WITHIN_S)
        problem = f"the command ended with exit code {process.returncode}" if process.returncode else None
    except subprocess.TimeoutExpired:
        problem = f"the command did not end within {_ANSWERS_WITHIN_S:.0f} s"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
            process.communicate()
    if problem is not None:
        raise ConfigurationError(variable, problem, "Run it by hand, as this user, to see why.")
    return said
