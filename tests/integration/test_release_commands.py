"""`platform release …` as a person types it, and the same in Dagster's launchpad: compare, go back, prune, a shadow."""

import os
import signal
from collections.abc import Iterator

import dagster as dg
import pytest
from deployed import Deployed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A deployment with two releases; in the second there is a day more."""
    world = Deployed(tmp_path_factory.mktemp("releases"))
    world.simulate(days=2, rows=60, until="2026-03-17", dirt=0.0)
    assert world.verb("run", "--json").did
    world.simulate(days=3, rows=60, until="2026-03-18", dirt=0.0)
    assert world.verb("run", "--json").did
    return world


@pytest.fixture(autouse=True)
def as_it_was(world: Deployed) -> Iterator[None]:
    """Whoever goes back goes on in the end."""
    yield
    world.verb("release", "unpin")
    world.verb("release", "unshadow")


def ids(world: Deployed) -> list[str]:
    return [each["id"] for each in world.verb("release", "list", "--json").answer["releases"] if not each["shadow"]]


def days(world: Deployed) -> int:
    ((count,),) = world.query("SELECT count(*) FROM daily_sales")
    return int(count)


def test_releases_are_listed_and_shown(world: Deployed) -> None:
    newest, older = world.verb("release", "list", "--json").answer["releases"]
    assert (newest["current"], older["current"], newest["product"]) == (True, False, "retail")
    assert newest["tables"]["daily_sales"] == older["tables"]["daily_sales"] + 1 == days(world)
    assert newest["size"] > 0

    shown = world.verb("release", "show", "previous", "--json").answer
    assert shown["release"]["id"] == older["id"]
    mart = shown["marts"]["daily_sales"]
    assert (mart["rows"], mart["columns"]["sale_date"]) == (days(world) - 1, "DATE")
    assert mart["checks"], "those that it passed"
    assert older["id"] in world.verb("release", "show", older["id"][:-1]).out


@pytest.mark.parametrize(
    "command",
    [
        ("show", "retial"),
        ("show", "2026"),
        ("show", "retail/nothing"),
        ("diff", "current", "shadow"),
        ("rollback", "newest/x/y"),
        ("unpin",),
        ("unpin", "nobody"),
        ("prune", "nobody"),
        ("--shadow", "nobody"),
    ],
    ids=" ".join,
)
def test_asking_wrongly_is_answered(world: Deployed, command: tuple[str, ...]) -> None:
    asked = world.verb("release", *command, "--json")
    assert asked.code == 2, asked.out
    if command == ("show", "retial"):
        assert "Did you mean 'retail'?" in asked.answer["error"]["what"]


def test_two_releases_are_compared_by_key_and_personal_values_are_masked(world: Deployed) -> None:
    done = world.verb("release", "diff", "previous", "--json")
    marts = {each["mart"]: each for each in done.answer["marts"]}
    sales, customers = marts["daily_sales"], marts["customer_value"]
    assert (done.code, sales["added"], sales["removed"], sales["key"]) == (0, 1, 0, ["sale_date"])
    assert marts["dim_products"]["what"] in ("same", "changed")
    assert customers["changed"] > 0
    assert {key["customer_id"] for c in customers["columns"] for key, _, _ in c["samples"]} == {"***"}

    back = world.verb("release", "diff", "current", "previous", "--json").answer
    assert next(each for each in back["marts"] if each["mart"] == "daily_sales")["removed"] == 1
    same = world.verb("release", "diff", "current", "--json").answer
    assert {each["what"] for each in same["marts"]} == {"same"}
    assert "daily_sales" in world.verb("release", "diff", "retail/previous").out


def test_going_back_is_pinned_and_everybody_who_asks_is_told(world: Deployed) -> None:
    newest, older = ids(world)[:2]
    before = days(world)
    done = world.verb("release", "rollback", "--because", "returns are counted twice", "--json")
    assert (done.code, done.answer["release"], done.answer["before"]) == (0, older, newest)
    assert days(world) == before - 1

    world.simulate(days=4, rows=60, until="2026-03-19", dirt=0.0)
    ran = world.verb("run", "--json")
    assert ran.code == 3, "it waits for a person"
    assert any("returns are counted twice" in each["what"] for each in ran.answer["attention"])
    assert any("beside it lies" in note for note in ran.answer["notes"])
    assert days(world) == before - 1
    made = ids(world)
    assert made[1:] == [newest, older]
    again = world.verb("run", "--json")
    assert (again.code, again.answer["made"], ids(world)) == (3, False, made), "it is not published again and again"

    for asked in ("release/retail", "daily_sales"):
        why = world.verb("why", asked, "--json").answer
        (pinned,) = [each for each in why["reasons"] if each["kind"] == "pinned"]
        assert "returns are counted twice" in pinned["evidence"]
    page = (world.home / "site" / "index.html").read_text()
    assert f"Release {older}" in page
    with world.instance() as instance:
        observed = instance.fetch_observations(dg.AssetKey(["release", "retail"]), limit=1).records[0]
        told = observed.asset_observation
        assert told is not None
        assert older in str(told.metadata["readers get"].value)

    done = world.verb("release", "unpin", "--json")
    assert (done.code, done.answer["release"]) == (0, made[0])
    assert days(world) == before + 1
    entries = world.verb("audit", "list", "--json").answer["entries"]
    done_of_releases = [e["what"] for e in entries if e["outcome"] == "done" and e["what"].startswith("release")]
    assert done_of_releases[:2] == ["release unpin", "release rollback"]


def test_a_rollback_that_is_killed_is_whole_at_the_next_command(world: Deployed) -> None:
    before = days(world)
    oldest = ids(world)[-1]
    killed = world.platform("release", "rollback", oldest, env={"PLATFORM_FAILPOINT": "pinned"})
    assert killed.code == -signal.SIGKILL
    assert days(world) == before
    assert world.verb("feed", "status").did
    assert days(world) < before


def test_the_launchpad_goes_back_and_on(world: Deployed) -> None:
    before = days(world)

    def launched(**fields: object) -> bool:
        from platform_assets.definitions import build_definitions

        with pytest.MonkeyPatch.context() as patch, world.instance() as instance:
            for name, value in world.environment().items():
                patch.setenv(name, value)
            job = build_definitions().resolve_job_def("rollback")
            config = {"ops": {"give_readers": {"config": fields}}}
            return job.execute_in_process(config, instance=instance, raise_on_error=False).success

    assert launched(product="retail", release="previous", why="looked wrong")
    assert days(world) < before
    pin = next(each["pinned"] for each in world.verb("release", "list", "--json").answer["releases"] if each["pinned"])
    assert (pin["by"].split(":")[0], pin["why"]) == ("run", "looked wrong")
    assert not launched(release="nothing")
    assert launched(unpin=True)
    assert days(world) == before


def test_a_shadow_is_compared_and_is_no_release(world: Deployed) -> None:
    before = ids(world)
    done = world.verb("release", "--shadow", "retail", "--json")
    assert (done.code, done.answer["release"]["shadow"], done.answer["release"]["unfit"]) == (0, True, None)
    assert world.query("SELECT count(*) FROM daily_sales", world.releases / "shadow" / "retail.duckdb") != []
    compared = world.verb("release", "diff", "current", "shadow", "--json").answer
    assert {each["what"] for each in compared["marts"]} == {"same"}
    assert ids(world) == before
    assert world.verb("release", "rollback", "shadow", "--json").code == 2
    assert world.verb("release", "unshadow", "--json").answer["products"] == ["retail"]
    assert not (world.releases / "shadow").is_symlink()


def test_pruning_says_what_it_would_do_and_keeps_what_is_declared(world: Deployed) -> None:
    before = ids(world)
    for release in before:
        os.utime(world.releases / release, (0, 0))
    done = world.verb("release", "prune", "--dry-run", "--json").answer
    assert done["products"] == [{"product": "retail", "removed": [], "freed": 0, "kept": len(before)}]
    assert world.verb("release", "prune").code == 0
    assert ids(world) == before
