"""Personal data from end to end: a team's checkout whose feeds have it, run by command and by daemon, with alerts."""

import hmac
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import dagster as dg
import duckdb
import persons_feeds
import pytest
from checkout import SAMPLE_LINKS, copy_checkout
from deployed import DeployedCopy
from machine import PROJECT
from persons import MAIL, PERSON, csv, deliver, leaked_by_ledger, leaks, named_in
from receivers import Webhook, here

from platform_assets.orchestration.runs.automation import UNDER_WAY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

MARTS: Final = '''"""What marts of people promise, and do not keep."""

from platform_assets import Contract, Field, Mart, Product


class Buyers(Contract):
    """People who bought something. Grain: line."""

    number: str = Field()
    contact: str = Field(nullable=True, pii="secret", str_matches="^nobody$")
    whose: str = Field(nullable=True, str_matches="^nobody$", description="Made from the e-mail address")
    amount: int = Field(ge=5)


BUYERS = Mart("buyers", Buyers)
PEOPLE = Product("people", personal={"contact": "pseudonym", "members.address": "drop", "born": "drop", "said": "drop"})
STAFF = Product("staff", personal={"mail": "keep"})
'''
SOURCE: Final = "{{ source('persons', 'fail') }}"
STAGED: Final = "from {{ ref('stg_persons__fail') }}\n"
RELEASED: Final = {
    "members.sql": "select number, email as contact, lower(email) as address, born, to_json([email, born]) as said, "
    f"amount {STAGED}",
    "contacts.sql": f"with each_one as (select * {STAGED}) select trim(email) as contact, count(*) as lines "
    "from each_one where email is not null group by 1\nunion all select email, 0 from each_one where false",
    "directory.sql": f"select distinct email as mail {STAGED}",
    "loose.sql": f"select number, upper(email) as shouted, count(*) as lines {STAGED} group by 1, 2",
    "_released.yml": """
groups:
  - {name: people, owner: {name: "team:people"}}
  - {name: staff, owner: {name: "team:people"}}
  - {name: loose, owner: {name: "team:people"}}
models:
  - name: members
    config: {group: people}
    columns:
      - {name: number, data_type: varchar}
      - {name: contact, data_type: varchar}
      - {name: address, data_type: varchar}
      - {name: born, data_type: varchar}
      - {name: said, data_type: json}
      - {name: amount, data_type: bigint}
  - name: contacts
    config: {group: people}
    columns: [{name: contact, data_type: varchar}, {name: lines, data_type: bigint}]
  - name: directory
    config: {group: staff}
    columns: [{name: mail, data_type: varchar}]
  - name: loose
    config: {group: loose}
    columns: [{name: number, data_type: varchar}, {name: shouted, data_type: varchar}, {name: lines, data_type: bigint}]
""",
}
"""Marts that are released: personal data of two is dropped or pseudonymised, of one kept, of the last undeclared."""
KEY: Final = "canary-pseudonym-key-4711"
FILES: Final = {
    "platform_assets/marts/persons.py": MARTS,
    "dbt_project/models/staging/persons/stg_persons__fail.sql": f"select * from {SOURCE}\n",
    "dbt_project/models/staging/persons/stg_persons__add.sql": "select * from {{ source('persons', 'add') }}\n",
    "dbt_project/models/marts/buyers.sql": "select number, email as contact, lower(email) as whose, amount\n"
    "from {{ ref('stg_persons__fail') }}\n",
    "dbt_project/models/marts/casts.sql": "select cast(email as integer) as born from {{ ref('stg_persons__fail') }}\n",
    "dbt_project/models/marts/raises.sql": "select error('no such ' || max(email)) as born "
    "from {{ ref('stg_persons__fail') }}\n",
    "dbt_project/models/marts/marts.yml": """
models:
  - name: buyers
    description: "People who bought something. Grain: line."
    columns:
      - {name: number, data_type: varchar, data_tests: [{accepted_values: {arguments: {values: [B1]}}}]}
      - {name: contact, data_type: varchar, data_tests: [unique, {accepted_values: {arguments: {values: [b]}}}]}
      - {name: whose, data_type: varchar, data_tests: [not_null]}
      - {name: amount, data_type: bigint}
  - name: casts
    columns: [{name: born, data_type: integer}]
  - name: raises
    columns: [{name: born, data_type: integer}]
""",
    **{f"dbt_project/models/marts/{name}": text for name, text in RELEASED.items()},
}


class Checkout(DeployedCopy):
    """A team's checkout with feeds of personal data in the sample's place, and a deployment of it."""

    def make(self) -> None:
        copy_checkout(PROJECT, self.project)
        for link in SAMPLE_LINKS:
            (self.project / link).unlink(missing_ok=True)
        for name, text in FILES.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)
        shutil.copy(Path(persons_feeds.__file__), self.project / "platform_assets/feeds/persons.py")

    def runs_by_itself(self, dropped: Path, content: bytes) -> str:
        """Let the daemon take in a file that is dropped while it lives; what it printed."""
        log = self.root / "ui.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        with log.open("w") as out:
            ui = self.start("platform", "ui", "--port", port, out=out, err=subprocess.STDOUT)
        try:
            dropped.write_bytes(content)
            with self.instance() as instance:
                before = {run.run_id for run in instance.get_runs()}
                self._until(lambda: {run.run_id for run in instance.get_runs()} > before, log)
                self._until(lambda: not instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY))), log)
                time.sleep(40)  # alerts are told at the next look
        finally:
            os.killpg(ui.pid, signal.SIGINT)
            ui.wait(90)
        return log.read_text()

    def _until(self, happens, log: Path, within_s: float = 240) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        deadline = time.monotonic() + within_s
        while not happens():
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)


def it_is_released_as_declared(world: Checkout) -> None:
    releases = world.home / "releases"
    with closing(duckdb.connect(str(releases / "people/current.duckdb"), read_only=True)) as reader:
        columns = reader.execute("SELECT table_name, list(column_name ORDER BY 1) FROM duckdb_columns() GROUP BY 1")
        assert dict(columns.fetchall()) == {
            "members": ["amount", "contact", "number"],
            "contacts": ["contact", "lines"],
        }
        pseudonym = hmac.new(KEY.encode(), MAIL.encode(), "sha256").hexdigest()
        joined = reader.execute("SELECT DISTINCT contact FROM members JOIN contacts USING (contact)").fetchall()
        assert (pseudonym,) in joined
    assert not (releases / "loose").exists()


def test_nobody_is_named_but_where_data_is(tmp_path: Path, hook: Webhook) -> None:
    alerts = {"PLATFORM_ALERT": f"{hook.url()},{hook.url('/slack', 'slack+http')}", "PLATFORM_ALERT_HOSTS": here(hook)}
    world = Checkout(tmp_path, alerts | {"PLATFORM_PSEUDONYM_KEY": KEY}, folder="team", most_s=400)
    world.make()
    deliver(world.landing)
    said: dict[str, str] = {}

    def says(*arguments: str) -> None:
        done = world.platform(*arguments)
        assert "Traceback" not in done.err, done.err
        said[" ".join(arguments)] = done.out + done.err

    says("feed", "sources")
    says("run", "--json")
    # Half of the verbs answer in tables, half in JSON; what either holds is the same.
    says("quarantine", "list")
    says("quarantine", "list", "--json")
    for feed in ("fail", "add"):
        says("quarantine", "explain", feed)
        says("feed", "headers", feed)
    says("feed", "headers", "fail", "--json")
    says("contract", "diff", "--json")
    says("contract", "diff", "add")
    says("trace", "raw.add", "--where", "number=A1")
    says("trace", "raw.add", "--where", "nothing=1")
    for asset in ("raw/persons/strict", "marts/casts", "marts/raises"):
        says("why", asset)
    says("why", "release/people", "--json")
    says("feed", "check", str(world.landing / "persons/fail/headerless.csv"), "--feed", "fail")
    says("feed", "sources")
    says("quarantine", "replay", "fail", "--json")
    said["ui"] = world.runs_by_itself(
        world.landing / "persons/fail/later.csv",
        csv(f"A1,1,{MAIL},1980", f"x,-1,{PERSON},", header=f"number,amount,email,{PERSON}"),
    )
    # What failed is taken out, so that the others are released.
    for broken in ("buyers.sql", "casts.sql", "raises.sql", "marts.yml"):
        (world.project / "dbt_project/models/marts" / broken).unlink()
    declared = world.project / "platform_assets/marts/persons.py"
    declared.write_text(declared.read_text().replace('BUYERS = Mart("buyers", Buyers)\n', ""))
    says("run")
    says("run", "--json")
    says("release", "personal")
    says("release", "personal", "--json")
    says("release", "list", "--json")
    says("why", "release/loose")
    says("ci")
    says("alerts")

    assert [verb for verb, text in said.items() if named_in(text)] == []
    assert hook.heard, "nobody was told anything"
    assert [heard.body for heard in hook.heard if named_in(heard.body)] == []
    assert leaked_by_ledger(world.home / "warehouse.duckdb") == []
    theirs = ("landing/", "home/archive/", "home/warehouse.duckdb", "home/marts.duckdb", "team/tests/")
    kept = "home/releases/staff/"
    assert leaks(tmp_path, (*theirs, kept)) == {}
    assert leaks(world.home / "releases/staff", ()) != {}, "what is declared to be kept is there"
    it_is_released_as_declared(world)
    # The key is nowhere; what was refused is named, and how to mend it.
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert [verb for verb, text in said.items() if KEY in text] == []
    for verb in ("run", "why release/loose", "ci", "release personal --json"):
        told = " ".join(said[verb].split())
        assert "loose.shouted (from fail.email)" in told, said[verb]
        assert 'LOOSE = Product("loose", personal={"shouted": "drop"})' in told.replace('\\"', '"'), said[verb]
    with world.instance() as instance:
        assert instance.get_runs_count() > 1
    # It is still said what failed, and where.
    why = " ".join(said["why marts/casts"].replace("│", " ").split())  # folded in its cell
    assert "Could not convert string" in why, said["why marts/casts"]
    assert "line" in said["quarantine list"]
