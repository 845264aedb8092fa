"""`platform erase`, as a person types it, on the sample's deployment: what it asks, removes, proves and certifies."""

import json
from pathlib import Path
from typing import Final

import duckdb
import pytest
from deployed import Deployed

from platform_assets.engine.audit.log import AuditLog
from platform_assets.engine.erase.copies import holds_bytes

KEY: Final = "0123456789abcdef0123456789abcdef"
WHO: Final = ("--feed", "customers", "--where", "customer_id=99999")


@pytest.fixture
def world(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path, {"PLATFORM_ERASE_KEY": KEY})


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--feed", "customers"), "needs a feed and a person"),
        (("--feed", "customers", "--where", "customer_id"), "is not COLUMN=VALUE"),
        (("--feed", "customers", "--where", "phone=1", "--dry-run"), "is not declared by Customers"),
        (("--feed", "customers", "--where", "customer_id=", "--dry-run"), "names nobody"),
        (WHO, "was not told that it is meant"),
    ],
)
def test_what_was_asked_for_wrongly_ends_with_exit_code_2(
    world: Deployed, arguments: tuple[str, ...], what: str
) -> None:
    done = world.verb("erase", *arguments, "--json")
    assert (done.code, what in done.answer["error"]["what"]) == (2, True)
    assert "phone=1" not in done.err + done.out


def test_without_a_key_nobody_can_be_erased(tmp_path: Path) -> None:
    done = Deployed(tmp_path).verb("erase", *WHO, "--yes", "--json")
    assert (done.code, "PLATFORM_ERASE_KEY" in done.answer["error"]["what"]) == (2, True)


@pytest.mark.slow
def test_a_customer_of_the_sample_is_gone_from_every_byte_and_every_release(world: Deployed) -> None:
    world.simulate(days=4, rows=50, until="2026-11-18")
    person = {"customer_id": "99999", "name": "Canary Jane", "email": "canary@example.org", "country": "Eire"}
    rest = {"segment": "retail", "registered_on": "2026-01-01", "updated_at": "2026-11-18T10:00:00Z"}
    world.deliver("retail/customers/extra.ndjson", [json.dumps(person | rest)])
    assert world.run("platform", "run", within_s=600).did
    before = world.current

    looked = world.run("platform", "erase", *WHO, "--dry-run", "--json").answer
    assert (looked["found"]["raw"], looked["landing_files"]) == (1, ["retail/customers/extra.ndjson"])
    assert looked["found"]["releases"] == {f"retail/{before.parent.name}": {"dim_customers": 1}}

    done = world.run("platform", "erase", *WHO, "--yes", "--json")
    assert (done.code, done.answer["ok"], done.answer["certificate"]["left"]) == (0, True, {}), done.err
    certificate = done.answer["file"]
    assert world.run("platform", "erase", "verify", certificate, "--json").answer["ours"] is True
    assert [entry.what for entry in AuditLog(world.home).entries()][-2:] == ["erase", "erase"]

    for again in ("before the next build", "after it"):
        found = [
            path.relative_to(world.home).as_posix()
            for path in world.home.rglob("*")
            if path.is_file() and not path.is_symlink() and holds_bytes(path, ["Canary Jane", "canary@example.org"])
        ]
        assert found == [], again
        for release in world.releases.glob("*/retail.duckdb"):
            with duckdb.connect(str(release), read_only=True) as connection:
                asked = "SELECT count(*) FROM dim_customers WHERE customer_id = '99999'"
                assert connection.execute(asked).fetchone() == (0,), again
        # The file still lies there, and is sent once more under another name.
        lines = (world.landing / "retail/customers/extra.ndjson").read_text().splitlines()
        world.deliver("retail/customers/once-more.ndjson", [*lines, json.dumps(person | rest | {"country": "France"})])
        assert world.run("platform", "run", within_s=600).did
    assert world.current != before
