"""Secrets: from a variable, a file or a command; named where they are wrong, and never shown."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Final

import psutil
import pytest

from platform_assets import secrets
from platform_assets.errors import ConfigurationError
from platform_assets.secrets import SECRETS
from platform_assets.settings import Settings

CANARY: Final = "canary-4711"
KEY: Final = "PLATFORM_AUDIT_KEY"


@pytest.fixture(autouse=True)
def _no_secret_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PLATFORM_ALERT", "PLATFORM_HEARTBEAT", KEY)):
            monkeypatch.delenv(name)
    monkeypatch.setattr(secrets, "_told", {})


def revealed(name: str = KEY) -> str:
    read = Settings.from_environment()
    secret = read.alerts.channels[name] if name != KEY else read.audit_key
    assert secret is not None
    assert CANARY not in f"{read!r} {secret!r} {secret}"
    return secret.reveal()


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def secret_file(folder: Path, content: bytes = f"{CANARY}\n".encode(), mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


# ---- three ways


@pytest.mark.parametrize("name", [KEY, "PLATFORM_ALERT", "PLATFORM_ALERT_TEAM_SALES"])
def test_a_secret_comes_from_a_variable_a_file_or_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable, value in {
        name: CANARY,
        f"{name}_FILE": str(secret_file(tmp_path)),
        f"{name}_COMMAND": python(f"print('{CANARY}')"),
    }.items():
        monkeypatch.setenv(variable, value)
        assert revealed(name) == CANARY
        monkeypatch.delenv(variable)


def test_every_secret_of_the_settings_is_declared_as_one() -> None:
    told = [line.split(":")[0].strip() for line in (Settings.__doc__ or "").replace("\n        ", " ").splitlines()
            if " A secret." in line]  # fmt: skip
    assert sorted(told) == sorted(SECRETS)


def test_one_newline_at_the_end_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{KEY}_FILE", str(secret_file(tmp_path, b" a b \n\n")))
    assert revealed() == " a b \n"


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{KEY}_FILE", str(secret_file(tmp_path)))
    read = Settings.from_environment()
    secret_file(tmp_path, b"another")
    assert read.audit_key is not None
    assert read.audit_key.reveal() == "another"


def test_a_command_is_run_when_it_is_needed_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    monkeypatch.setenv(f"{KEY}_COMMAND", python(f"open({str(runs)!r}, 'a').write('x'); print('{CANARY}')"))
    Settings.from_environment()
    assert not runs.exists()
    assert [revealed(), revealed()] == [CANARY] * 2
    assert runs.read_text() == "x"


def test_no_shell_runs_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{KEY}_COMMAND", f"{python('import sys; print(sys.argv[1:])')} $HOME ; touch {tmp_path}/x")
    assert revealed() == f"['$HOME', ';', 'touch', '{tmp_path}/x']"


def test_a_command_hears_no_other_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_ALERT_TEAM_SALES", CANARY)
    monkeypatch.setenv("PLATFORM_ALERT_HOSTS", "mail.example.org")
    monkeypatch.setenv(
        f"{KEY}_COMMAND", python("import os; print([name for name in os.environ if 'PLATFORM_ALERT' in name])")
    )
    assert revealed() == "['PLATFORM_ALERT_HOSTS']"


# ---- what is wrong is named, and not shown


def refusal(variable: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        revealed()
    assert refused.value.key == variable
    assert refused.value.__cause__ is None
    assert CANARY not in str(refused.value)
    return str(refused.value)


def test_two_ways_at_once_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, CANARY)
    monkeypatch.setenv(f"{KEY}_FILE", CANARY)
    assert "are set together" in refusal(f"{KEY} and {KEY}_FILE")


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602])
def test_a_file_that_others_can_read_or_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv(f"{KEY}_FILE", str(secret_file(tmp_path, mode=mode)))
    assert "chmod 600" in refusal(f"{KEY}_FILE")


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        monkeypatch.setenv(f"{KEY}_FILE", str(path))
        assert refusal(f"{KEY}_FILE")


@pytest.mark.parametrize("content", [b"", b"\n", CANARY.encode() + b"\xff", CANARY.encode() * 10_000])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv(f"{KEY}_FILE", str(secret_file(tmp_path, content)))
    assert refusal(f"{KEY}_FILE")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (python(f"import sys; print('{CANARY}'); sys.exit('{CANARY}')"), "ended with exit code 1"),
        (python("pass"), "is empty"),
        (f"/nowhere/{CANARY}", "cannot be run: No such file"),
        (f"'{CANARY}", "cannot be run: it is not written"),
        ("  ", "cannot be run: it is not written"),
    ],
)
def test_a_command_that_fails_is_told_without_its_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, problem: str
) -> None:
    monkeypatch.setenv(f"{KEY}_COMMAND", command)
    assert problem in refusal(f"{KEY}_COMMAND")
    assert capfd.readouterr() == ("", "")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_ANSWERS_WITHIN_S", 1.0)
    note = tmp_path / "note"
    monkeypatch.setenv(f"{KEY}_COMMAND", f"sh -c 'sleep 60 & echo $! > {note}; wait'")
    began = time.monotonic()
    assert "did not end within" in refusal(f"{KEY}_COMMAND")
    assert time.monotonic() - began < 20
    until = time.monotonic() + 10
    while psutil.pid_exists(int(note.read_text())) and psutil.Process(int(note.read_text())).status() != "zombie":
        assert time.monotonic() < until
        time.sleep(0.02)
