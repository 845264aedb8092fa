"""Versions of declarations: alike in every process, and another for anything that another declaration does."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.engine.contract.version import digest

HEAD: Final = """
import datetime, decimal, enum, functools, re, zoneinfo
from collections import defaultdict
from dataclasses import dataclass
import pandera.polars as pa
import polars as pl
from platform_assets.engine.contract.model import Contract, Field
import helpers
"""
BODY: Final = '''

class C(Contract):
    """c"""

    a: str = Field(FIELD)

    @pa.check("a")
    def ok(cls, data):
        return data.lazyframe.select(RULE)
'''


def module(field: str = "", rule: str = "pl.col(data.key).is_not_null()", before: str = "", inside: str = "") -> str:
    """The text of a module that declares a contract."""
    body = BODY.replace("FIELD", field).replace("RULE", rule)
    return f"{HEAD}{before}{body}{inside}"


def feed(*, files: str = "", more: str = "", rule: str = "pl.col(data.key).is_not_null()") -> str:
    """The text of a module that declares a feed."""
    declared = f"""
from platform_assets.engine.feed.feed import Cadence, Feed, Files, Rejects, Volume, hours
from platform_assets.engine.feed.formats import Csv, Json
DAILY = Cadence("0 6 * * *", hours(1))
FEED = Feed(name="f", source=Files("*.csv"{files}), contract=C, delivered=DAILY, owner="o"{more})
"""
    return module(rule=rule) + declared


LIMIT: Final = "pl.col(data.key).str.len_chars() > limit()"
# What is declared -> declarations that all differ in what they do.
DIFFERENT: Final[dict[str, list[str]]] = {
    "the rule itself": [module(), module(rule="pl.col(data.key).is_null()"), module(rule="pl.col(data.key) == 'x'")],
    "a set": [module(f"isin={values}") for values in ('{"a", "b", "c", "d"}', '{"a", "b", "c", "e"}', '{"a", "b"}')],
    "a set made a list": [module(f"isin=list({v})") for v in ('{"a", "b", "c", "d"}', '{"a", "b", "c"}')],
    "a set that is a constant of the code": [
        module(rule=f"pl.col(data.key).is_in([c for c in 'abcde' if c in {v}])")
        for v in ('{"a", "b", "c", "d"}', '{"a", "b", "c", "e"}')
    ],
    "a set of the module": [
        module(rule="pl.col(data.key).is_in(list(KNOWN))", before=f"KNOWN = {v}")
        for v in ('frozenset({"a", "b", "c"})', 'frozenset({"a", "b"})', '{"a": {"b", "c"}}', '{"a": {"b"}}', "['a']")
    ],
    "an expression": [module(f"str_matches={v}") for v in ("'a'", "'b'", "re.compile('a', re.I)", "re.compile('b')")],
    "what is closed over": [
        module(before=f"def made(n):\n    return lambda: n\nlimit = made({n})", rule=LIMIT)
        for n in ("1", "1.5", "decimal.Decimal('1')", "decimal.Decimal('1.0')", "datetime.date(2026, 1, 1)")
    ],
    "a moment in a zone": [
        module(before=f"limit = datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo('{zone}'))", rule="limit")
        for zone in ("Europe/London", "Europe/Paris")
    ],
    "a default": [module(before=f"def limit(n={n}):\n    return n", rule=LIMIT) for n in (1, 2)],
    "a default by name": [module(before=f"def limit(*, n={n}):\n    return n", rule=LIMIT) for n in (1, 2)],
    "a constant of the module, at second hand": [
        module(before=f"LEAST = {n}\ndef limit():\n    return LEAST", rule=LIMIT) for n in (1, 2)
    ],
    "a function in a function": [
        module(before=f"LEAST = {n}\ndef limit():\n    return (lambda: LEAST)()", rule=LIMIT) for n in (1, 2)
    ],
    "a partial function": [module(before=f"limit = functools.partial(int, {n})", rule=LIMIT) for n in (1, 2)],
    "a function that remembers": [
        module(before=f"@functools.cache\ndef limit():\n    return {n}", rule=LIMIT) for n in (1, 2)
    ],
    "an attribute of the contract": [module(inside=f"\n    _least = {n}\n", rule="cls._least") for n in (1, 2)],
    "a method of the contract": [
        module(inside=f"\n    @classmethod\n    def limit(cls):\n        return {n}\n", rule="cls.limit()")
        for n in (1, 2)
    ],
    "what the contract inherits": [
        module(
            before=f'class Base(Contract):\n    """b"""\n    b: str = Field()\n    @pa.check("b")\n'
            f"    def least(cls, data):\n        return data.lazyframe.select(pl.col(data.key) > '{n}')\n",
        ).replace("C(Contract)", "C(Base)")
        for n in (1, 2)
    ],
    "a class": [
        module(before=f"class Limit:\n    def __call__(self):\n        return {n}\nlimit = Limit()", rule=LIMIT)
        for n in (1, 2)
    ],
    "an object": [
        module(before=f"@dataclass\nclass Limit:\n    n: object\nlimit = Limit({n})", rule="limit.n") for n in (1, {2})
    ],
    "words": [
        module(before=f"class Words(enum.Enum):\n    A = '{word}'", rule="pl.col(data.key) == Words.A") for word in "ab"
    ],
    "a dictionary with a default": [
        module(before=f"limit = defaultdict(set, {{'a': {v}}})", rule="limit['a']") for v in ('{"a", "b"}', '{"a"}')
    ],
    "a frame": [module(before=f"limit = pl.DataFrame({{'a': [{n}]}})", rule="limit['a']") for n in (1, 2)],
    "an expression of columns": [module(before=f"limit = pl.col('a') > {n}", rule="limit") for n in (1, 2)],
    "a rule across columns": [
        module(
            inside=f"\n    @pa.dataframe_check\n    def all_ok(cls, data):\n        return data.lazyframe.select({r})\n"
        )
        for r in ("pl.col('a') > 'a'", "pl.col('a') > 'b'")
    ],
    "rules that change places": [
        module().replace("    a: str = Field()", f"    a: str = Field({a})\n    b: str = Field({b})")
        for a, b in (("ge='a'", "ge='b'"), ("ge='b'", "ge='a'"))
    ],
    "how a rule is asked": [
        module().replace('pa.check("a")', f'pa.check("a", {how})') for how in ("element_wise=True", "ignore_na=False")
    ],
    "how a column arrives": [
        module(field)
        for field in (
            "source='x'",
            "source=('x', 'y')",
            "strip=True",
            "pii='secret'",
            "nullable=True",
            "point_zero=True",
        )
    ],
}
DIFFERENT["what a feed declares"] = [
    feed(),
    feed(rule="pl.col(data.key).is_null()"),
    *(
        feed(files=f", format={form}")
        for form in ("Csv(skip=1)", "Csv(nulls={'NA', '-', '?'})", "Csv(nulls={'NA'})", "Json()")
    ),
    *(feed(more=f", {more}") for more in ("on_drift='add'", "key=('a',)", "key=('a',), on_known_key='latest'")),
    feed(more=", key=('a',), key_within='delivery'"),
    *(feed(more=f", tolerate=Rejects({rate}, beyond='quarantine')") for rate in (0.1, 0.2)),
]
# What is declared -> the same, written otherwise.
ALIKE: Final[dict[str, list[str]]] = {
    "the order of a set": [module(f"isin={v}") for v in ('{"a", "b", "c"}', '{"c", "b", "a"}')],
    "what judges nothing": [
        feed(),
        feed(files=", sidecar='.done'", more=", volume=Volume(0.1)"),
        feed(more=", tolerate=Rejects(0.1)"),
    ],
    "what stands above it": [module(), module(before="\n\nUNUSED = object()\n\n")],
    "a remark": [module(), module(rule="pl.col(data.key).is_not_null()  # never\n        ")],
    "what can change without it": [
        module(before="import threading\nlimit = threading.Lock()", rule="limit"),
        module(before="import threading\nlimit = threading.Lock()\nOTHER = 1", rule="limit"),
    ],
}
PROGRAM: Final = """
import importlib.util, json, sys
from platform_assets.engine.contract.model import columns_of, version_of
found = {}
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("declared", path)
    module = sys.modules["declared"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    version = module.FEED.version() if hasattr(module, "FEED") else version_of(module.C)
    found[path] = version, [column.rules for column in columns_of(module.C)]
print(json.dumps(found))
"""


def told(folder: Path, seed: str) -> dict[str, Any]:
    """Versions, and names of rules, of every module in `folder`, as a process with this hash seed finds them."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(folder / "lib")}
    command = [sys.executable, "-c", PROGRAM, *map(str, sorted(folder.glob("*.py")))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return {Path(path).stem: found for path, found in answer.items()}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """By module, in two processes with different hash seeds."""
    folder = tmp_path_factory.mktemp("declared")
    (folder / "lib").mkdir()
    (folder / "lib/helpers.py").write_text("def limit():\n    return 1\n")
    for group, declared in (DIFFERENT | ALIKE).items():
        for number, text in enumerate(declared):
            (folder / f"{group} {number}.py").write_text(text)
    return told(folder, "1"), told(folder, "2")


def of_group(found: dict[str, Any], group: str) -> list[str]:
    return [found[f"{group} {number}"][0] for number in range(len((DIFFERENT | ALIKE)[group]))]


@pytest.mark.parametrize("group", [*DIFFERENT, *ALIKE])
def test_a_declaration_has_one_version_in_every_process(versions: tuple[Any, Any], group: str) -> None:
    one, other = versions
    assert of_group(one, group) == of_group(other, group)


@pytest.mark.parametrize("group", DIFFERENT)
def test_what_does_something_else_has_another_version(versions: tuple[Any, Any], group: str) -> None:
    found = of_group(versions[0], group)
    assert len({*found}) == len(found)


@pytest.mark.parametrize("group", ALIKE)
def test_what_does_the_same_has_the_same_version(versions: tuple[Any, Any], group: str) -> None:
    assert len({*of_group(versions[0], group)}) == 1


def test_rules_have_one_name_in_every_process(versions: tuple[Any, Any]) -> None:
    one, other = versions
    assert one["a set 0"][1] == other["a set 0"][1] == [["isin({'a', 'b', 'c', 'd'})", "ok"]]


@pytest.mark.parametrize("how", ["import helpers", "from helpers import limit"])
def test_a_function_of_another_module_counts(tmp_path: Path, how: str) -> None:
    def version(number: int) -> str:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "helpers.py").write_text(f"LEAST = {number}\ndef limit():\n    return LEAST\n")
        called = "helpers.limit()" if how == "import helpers" else "limit()"
        sys.path.insert(0, str(folder))
        try:
            scope: dict[str, Any] = {"__name__": "declared"}
            exec(f"{how}\ndef rule():\n    return {called}\n", scope)
            return digest(scope["rule"])
        finally:
            sys.path.remove(str(folder))
            sys.modules.pop("helpers")

    assert version(1) != version(2)


def test_an_upgrade_of_a_library_is_no_other_declaration(tmp_path: Path) -> None:
    """By their names only: their code is another with every release."""
    spec = importlib.util.find_spec("polars")
    assert spec is not None
    scope: dict[str, Any] = {"__name__": "declared"}
    exec("from polars import concat\ndef rule():\n    return concat", scope)
    before = digest(scope["rule"])
    concat = scope["concat"]
    code = concat.__code__
    try:
        concat.__code__ = (lambda *_, **__: None).__code__
        assert digest(scope["rule"]) == before
    finally:
        concat.__code__ = code


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.dates() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.lists(st.integers() | st.text(max_size=3), unique=True), VALUES, VALUES)
def test_values_are_alike_when_they_are_equal(members: list[Any], one: Any, other: Any) -> None:
    assert digest({*members}) == digest(frozenset(members[::-1])) != digest(members)
    assert digest(dict.fromkeys(members)) == digest(dict.fromkeys(members[::-1]))
    assert digest([one]) == digest([one]) != digest([one, one])
    assert (digest(one) == digest(other)) == (repr(one) == repr(other))
