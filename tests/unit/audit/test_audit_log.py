"""The audit log: what was recorded stays as it was, or verify says in which line it does not."""

import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import child, ended

from platform_assets.engine.audit.line import Head
from platform_assets.engine.audit.log import AuditLog
from platform_assets.engine.durable import failpoint
from platform_assets.errors import AuditBroken, ConfigurationError, PlatformError, StorageError
from platform_assets.settings import person

LOG: Final = "audit.jsonl"
HEAD: Final = "audit.head"


def recorded(home: Path, entries: int, key: str | None = None) -> AuditLog:
    log = AuditLog(home, key=lambda: key)
    for n in range(entries):
        log.record("os:anna", "replay", {"feed": "sales", "delivery": n})
    return log


def lines(home: Path) -> list[bytes]:
    return (home / LOG).read_bytes().splitlines(keepends=True)


def put(home: Path, changed: list[bytes]) -> None:
    (home / LOG).write_bytes(b"".join(changed))


@pytest.fixture(params=[None, "a key"], ids=["without a key", "with a key"])
def key(request: pytest.FixtureRequest) -> str | None:
    return str(request.param) if request.param else None


# ---- recorded


def test_an_entry_says_who_did_what_to_what_and_when(tmp_path: Path) -> None:
    entry = AuditLog(tmp_path).record("ui:anna", "launch run", {"assets": ["raw/shop/sales"], "rows": 3})
    assert (entry.n, entry.who, entry.what, entry.outcome) == (1, "ui:anna", "launch run", "done")
    assert entry.about == {"assets": ["raw/shop/sales"], "rows": 3}
    assert entry.at.tzinfo is not None
    assert list(AuditLog(tmp_path).entries()) == [entry]


def test_the_log_is_for_its_owner_alone_whatever_the_umask_and_whatever_it_was(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log = recorded(tmp_path, 1)
        log.path.chmod(0o644)
        log.record("os:anna", "replay", {})
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (LOG, HEAD)} == {0o600}


def test_the_person_is_known_without_asking_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = person()
    for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert person() == honest
    assert honest.startswith("os:")


def test_what_is_too_long_for_a_line_is_shortened_and_says_so(tmp_path: Path, key: str | None) -> None:
    log = AuditLog(tmp_path, key=lambda: key)
    entry = log.record("os:anna" * 100, "launch run", {"assets": ["raw/shop/sales"] * 10_000})
    assert set(entry.about) == {"shortened", "bytes", "sha256"}
    assert len(lines(tmp_path)[0]) < 20_000
    assert log.verify().ok


@pytest.mark.parametrize("odd", ["\n", "\r\n\u2028", "\udc80", "\x1b[31m", '"}'])
def test_no_text_makes_a_second_line_or_reaches_a_terminal_as_it_is(tmp_path: Path, odd: str) -> None:
    log = recorded(tmp_path, 0)
    entry = log.record(odd, odd, {odd: odd})
    assert (entry.who, entry.what, entry.about) == (odd, odd, {odd: odd})
    assert len(lines(tmp_path)) == 1
    assert lines(tmp_path)[0].decode("ascii").rstrip("\n").isprintable()
    assert log.verify().ok


def test_work_is_recorded_before_it_begins_and_when_it_ended(tmp_path: Path) -> None:
    log = recorded(tmp_path, 0)
    with log.doing("os:anna", "replay", {"feed": "sales"}) as came:
        assert [each.outcome for each in log.entries()] == ["asked"]
        came["deliveries"] = 2
    asked, done = log.entries()
    assert (done.outcome, done.of, done.about) == ("done", asked.n, {"deliveries": 2})


def test_work_that_failed_is_recorded_as_failed_by_the_kind_of_its_error_alone(tmp_path: Path) -> None:
    log = recorded(tmp_path, 0)
    with pytest.raises(ValueError, match="anna@example"), log.doing("os:anna", "replay", {"feed": "sales"}):
        raise ValueError("could not read anna@example.org")
    asked, failed = log.entries()
    assert (failed.outcome, failed.of, failed.about) == ("failed", asked.n, {"error": "ValueError"})


def test_work_whose_end_cannot_be_recorded_is_told_as_done(tmp_path: Path) -> None:
    log = recorded(tmp_path, 1)
    with (
        pytest.raises(PlatformError, match=r"replay is done, but this could not be recorded: .* was changed") as told,
        log.doing("os:anna", "replay", {}),
    ):
        put(tmp_path, lines(tmp_path)[:1])
    assert "Its effect is there. Entry 2" in told.value.state


def test_what_cannot_be_recorded_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    begun = False
    with pytest.raises(StorageError), AuditLog(tmp_path).doing("os:anna", "replay", {}):
        begun = True
    assert not begun


def test_the_end_of_the_log_alone_is_read_to_append(tmp_path: Path) -> None:
    log = recorded(tmp_path, 1)
    body = lines(tmp_path)[0]
    read = 0
    pread = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read
        found = pread(descriptor, size, offset)
        read += len(found)
        return found

    put(tmp_path, [b"x" * (4 << 20) + b"\n", body])
    os.pread = counted
    try:
        log.record("os:anna", "replay", {})
    finally:
        os.pread = pread
    assert read <= 1 << 20


# ---- changed


def resealed(line: bytes, **changes: object) -> bytes:
    """The line as somebody writes it who knows how hashes are made, but not the key."""
    from platform_assets.engine.audit.line import own_hash

    body = {**json.loads(line), **changes}
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    body["hash"] = own_hash(text, None)
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n"


Change = Callable[[list[bytes], int], list[bytes]]
CHANGES: Final[dict[str, Change]] = {
    "a name is changed": lambda old, at: [*old[:at], old[at].replace(b"os:anna", b"os:bert"), *old[at + 1 :]],
    "a field is added": lambda old, at: [*old[:at], old[at].replace(b"{", b'{"a":1,', 1), *old[at + 1 :]],
    "a blank is added": lambda old, at: [*old[:at], old[at].replace(b",", b", ", 1), *old[at + 1 :]],
    "a line is resealed": lambda old, at: [*old[:at], resealed(old[at], who="os:bert"), *old[at + 1 :]],
    "a line is removed": lambda old, at: [*old[:at], *old[at + 1 :]],
    "a line is doubled": lambda old, at: [*old[: at + 1], *old[at:]],
    "a line is put in": lambda old, at: [*old[:at], b"nothing\n", *old[at:]],
    "an entry is put in": lambda old, at: [*old[:at], resealed(old[at], who="os:bert"), *old[at:]],
    "a line goes to the end": lambda old, at: [*old[:at], *old[at + 1 :], old[at]],
    "the tail is cut off": lambda old, at: old[:at],
    "the tail is cut off within a line": lambda old, at: [*old[:at], old[at][:-5]],
    "the newline is gone": lambda old, at: [*old[:at], old[at].rstrip(b"\n"), *old[at + 1 :]],
}


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=8, deadline=None)
@given(data=st.data(), entries=st.integers(1, 6), key=st.sampled_from([None, "a key"]))
def test_any_single_change_is_found_in_its_line(
    change: str, data: st.DataObject, entries: int, key: str | None
) -> None:
    at = data.draw(st.integers(0, entries - 1))
    with TemporaryDirectory() as folder:
        log = recorded(Path(folder), entries, key)
        before = lines(Path(folder))
        assert log.verify().ok
        put(Path(folder), CHANGES[change](before, at))
        if lines(Path(folder)) == before:  # the last line went to the end
            return
        verdict = log.verify()
        changed = next((n for n, (a, b) in enumerate(zip(before, lines(Path(folder)), strict=False)) if a != b), None)
        first = min(len(before), len(lines(Path(folder)))) if changed is None else changed
        assert verdict.broken[0].line in (first + 1, first + 2)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_byte_that_is_another_is_found(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        log = recorded(Path(folder), 4, data.draw(st.sampled_from([None, "a key"])))
        text = bytearray(log.path.read_bytes())
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] ^= data.draw(st.integers(1, 255))
        line = log.path.read_bytes()[:at].count(b"\n") + 1
        log.path.write_bytes(text)
        assert log.verify().broken[0].line in (line, line + 1)


def test_a_log_that_was_written_anew_is_found(tmp_path: Path, key: str | None) -> None:
    log = recorded(tmp_path / "real", 3, key)
    forged = recorded(tmp_path / "forged", 3)
    put(tmp_path / "real", lines(tmp_path / "forged"))
    assert forged.verify().ok
    assert {each.line for each in log.verify().broken} == {3}


def test_after_a_change_at_the_end_nothing_more_is_recorded(tmp_path: Path, key: str | None) -> None:
    log = recorded(tmp_path, 3, key)
    put(tmp_path, lines(tmp_path)[:2])
    with pytest.raises(AuditBroken, match="entries 3 to 3 are gone"):
        log.record("os:anna", "replay", {})
    (tmp_path / HEAD).unlink()
    with pytest.raises(AuditBroken, match=r"audit\.head is gone"):
        log.record("os:anna", "replay", {})
    assert len(lines(tmp_path)) == 2


def test_a_removed_log_is_found(tmp_path: Path, key: str | None) -> None:
    log = recorded(tmp_path, 3, key)
    log.path.unlink()
    assert log.verify().broken[0].line == 1
    with pytest.raises(AuditBroken):
        log.record("os:anna", "replay", {})


def test_a_log_that_was_replaced_with_its_head_is_found_by_a_head_kept_elsewhere(tmp_path: Path) -> None:
    kept = recorded(tmp_path, 3).head()
    assert kept is not None
    for name in (LOG, HEAD):
        (tmp_path / name).unlink()
    forger = recorded(tmp_path, 5)
    assert forger.verify().ok
    assert forger.verify([Head.parse(str(kept))]).broken[0].line == 3


def test_an_earlier_copy_of_log_and_head_is_found_by_a_head_kept_elsewhere(tmp_path: Path, key: str | None) -> None:
    log = recorded(tmp_path, 2, key)
    earlier = {name: (tmp_path / name).read_bytes() for name in (LOG, HEAD)}
    kept = recorded(tmp_path, 1, key).head()
    assert kept is not None
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    assert log.verify().ok
    assert [each.line for each in log.verify([kept]).broken] == [3]


def test_who_lacks_the_key_can_replace_nothing(tmp_path: Path) -> None:
    log = recorded(tmp_path, 3, "a key")
    for name in (LOG, HEAD):
        (tmp_path / name).unlink()
    for forger in (AuditLog(tmp_path), AuditLog(tmp_path, key=lambda: "a guess")):
        forger.record("os:anna", "nothing", {})
        assert not log.verify().ok
        for name in (LOG, HEAD):
            (tmp_path / name).unlink()


def test_who_lacks_the_key_cannot_cut_off_the_tail_and_note_a_new_end(tmp_path: Path) -> None:
    log = recorded(tmp_path, 3, "a key")
    put(tmp_path, lines(tmp_path)[:2])
    entry = list(log.entries())[-1]
    (tmp_path / HEAD).write_text(json.dumps({"entries": 2, "hash": entry.hash, "seal": None}))
    assert not log.verify().ok
    with pytest.raises(AuditBroken):
        log.record("os:anna", "replay", {})


def test_a_signed_log_can_be_read_without_the_key_but_neither_verified_nor_continued(tmp_path: Path) -> None:
    recorded(tmp_path, 2, "a key")
    log = AuditLog(tmp_path)
    assert len(list(log.entries())) == 2
    with pytest.raises(ConfigurationError, match="PLATFORM_AUDIT_KEY"):
        log.verify()
    with pytest.raises(ConfigurationError, match="PLATFORM_AUDIT_KEY"):
        log.record("os:anna", "replay", {})


def test_a_key_that_is_set_later_signs_from_then_on(tmp_path: Path) -> None:
    recorded(tmp_path, 2)
    signed = AuditLog(tmp_path, key=lambda: "a key")
    assert [each.line for each in signed.verify().broken] == [2]  # nothing tells it from a forged log yet
    signed.record("os:anna", "replay", {})
    verdict = signed.verify()
    assert (verdict.ok, verdict.entries, verdict.keyed) == (True, 3, 1)


# ---- several at once, and killed


def record_in_child(home: Path, entries: int, point: str | None = None) -> None:
    failpoint.arm(point)
    recorded(home, entries)


def test_processes_that_write_at_once_make_one_chain(tmp_path: Path) -> None:
    writers = [child(record_in_child, tmp_path, 200) for _ in range(2)]
    assert [ended(each) for each in writers] == [0, 0]
    verdict = AuditLog(tmp_path).verify()
    assert (verdict.ok, verdict.entries) == (True, 400)


@pytest.mark.parametrize("point", ["mid-audit-line", "audit-line"])
def test_a_kill_while_a_line_is_written_is_told_by_the_next_entry_and_loses_none(tmp_path: Path, point: str) -> None:
    recorded(tmp_path, 3)
    for _ in range(2):
        assert ended(child(record_in_child, tmp_path, 1, point)) == -signal.SIGKILL
        verdict = AuditLog(tmp_path).verify()
        assert verdict.ok
        assert bool(verdict.cut_short) == (point == "mid-audit-line")
        recorded(tmp_path, 1)
    verdict = AuditLog(tmp_path).verify()
    assert (verdict.ok, verdict.cut_short) == (True, 0)
    whats = [each.what for each in AuditLog(tmp_path).entries()]
    ours = ["cut short", "replay"] if point == "mid-audit-line" else ["replay", "replay"]
    assert whats == ["replay"] * 3 + ours * 2


def test_a_line_that_was_cut_short_cannot_be_changed_or_removed_afterwards(tmp_path: Path) -> None:
    recorded(tmp_path, 1)
    ended(child(record_in_child, tmp_path, 1, "mid-audit-line"))
    log = recorded(tmp_path, 1)
    old = lines(tmp_path)
    assert len(old) == 4
    for changed in ([old[0], *old[2:]], [old[0], b"x" + old[1], *old[2:]], [old[0], b"\n", *old[1:]]):
        put(tmp_path, changed)
        assert log.verify().broken[0].line in (2, 3)
