"""Columns are followed through SQL: what they carry, what they only count, and what cannot be followed.

Each query is run, too: a value that comes out in a column must be of a column that it is said to carry.
"""

import duckdb
import pytest

from platform_assets.project.sql_lineage import columns_of_query

RAW = "raw.people"
TYPES = {
    "id": "VARCHAR",
    "email": "VARCHAR",
    "Full Name": "VARCHAR",
    "home": "STRUCT(street VARCHAR, town STRUCT(zip VARCHAR))",
    "phones": "VARCHAR[]",
    "amount": "INTEGER",
    "born": "DATE",
}
TABLES = {("memory", "raw", "people"): TYPES}
CANARIES = {
    "id": "canary-id",
    "email": "canary-email",
    "Full Name": "canary-name",
    "home": "canary-street",
    "phones": "canary-phone",
    "amount": "90210",
    "born": "1931",
}

# The query, and what it carries by column; what is followed by a minus is counted, compared or ordered by.
FOLLOWED = {
    "star": ("select * from raw.people", {name.lower(): name for name in TYPES}),
    "from alone": ("from raw.people select id", {"id": "id"}),
    "quoted": ('select "Full Name" as n from memory.raw.people', {"n": "Full Name"}),
    "other case": ('select ID as "X" from RAW.People', {"x": "id"}),
    "exclude, replace": (
        "select * exclude (phones, home, born) replace (lower(email) as amount) from raw.people",
        {"id": "id", "email": "email", "full name": "Full Name", "amount": "email"},
    ),
    "renamed in CTEs": (
        "with a as (select * from raw.people), b(x) as (select email from a) select upper(x) as y, 1 as one from b",
        {"y": "email", "one": ""},
    ),
    "derived table with names": ("select t.k from (select id, email from raw.people) as t(e, k)", {"k": "email"}),
    "union": ("select id as v from raw.people union all select email from raw.people", {"v": "email id"}),
    "union by name": (
        "select id as a from raw.people union all by name select email as b, id as a from raw.people",
        {"a": "id", "b": "email"},
    ),
    "recursive": (
        "with recursive r as (select id as a, email as b, phones[1] as c, 0 as n from raw.people "
        "union all select b, c, a, n + 1 from r where n < 3) select a, n from r",
        {"a": "email id phones", "n": ""},
    ),
    "an alias that is a column's name": (
        "select id as email, email as other from raw.people",
        {"email": "id", "other": "email"},
    ),
    "an alias used beside it": ("select email as e, e || '!' as f from raw.people", {"e": "email", "f": "email"}),
    "struct": ("select home.town.zip as z, p.home.street as s from raw.people p", {"z": "home", "s": "home"}),
    "struct made": ("select {'who': email, 'n': 1} as s, row(id, 2) as r from raw.people", {"s": "email", "r": "id"}),
    "list": ("select phones[1] as f, [email, id] as l from raw.people", {"f": "phones", "l": "email id"}),
    "unnest": (
        "select unnest(phones) as p, u.q from raw.people, unnest(phones) as u(q)",
        {"p": "phones", "q": "phones"},
    ),
    "lambda": (
        "select list_transform(phones, lambda x: x || email) as l, list_filter(phones, lambda x: x <> id) as f "
        "from raw.people",
        {"l": "email phones", "f": "id phones"},
    ),
    "lateral": ("select l.m from raw.people p, lateral (select p.email || '' as m) as l", {"m": "email"}),
    "correlated": (
        "select (select max(q.email) from raw.people q where q.id = p.id) as m from raw.people p",
        {"m": "email"},
    ),
    "values": ("select v.a, email from (values (1, 'x')) as v(a, b), raw.people", {"a": "", "email": "email"}),
    "made up": ("select i, j.k from range(2) t(i), generate_series(1, 2) j(k)", {"i": "", "k": ""}),
    "using": ("select id from raw.people join raw.people q using (id)", {"id": "id"}),
    "counted": (
        "select count(*) as a, count(distinct email) as b, sum(amount) as c, avg(amount) as d, "
        "count(*) filter (email like 'x%') as e, approx_count_distinct(email) as f, count(people) as g from raw.people",
        {"a": "", "b": "email-", "c": "amount-", "d": "amount-", "e": "email-", "f": "email-", "g": ""},
    ),
    "chosen of many": (
        "select max(email) as a, any_value(email) as b, string_agg(id, ',' order by email) as c, median(amount) as d, "
        "arg_max(email, amount) as e, list(distinct email) as f, first(email order by born) as g from raw.people",
        {
            "a": "email",
            "b": "email",
            "c": "email- id",
            "d": "amount",
            "e": "amount email",
            "f": "email",
            "g": "born- email",
        },
    ),
    "within groups": (
        "select percentile_disc(0.5) within group (order by amount) as p, max(email) filter (amount > 1) as m "
        "from raw.people",
        {"p": "amount", "m": "amount- email"},
    ),
    "windows": (
        "select row_number() over (partition by email order by id) as r, lag(email) over (order by id) as l, "
        "rank() over (order by amount) as k, sum(amount) over (order by born) as s from raw.people",
        {"r": "email- id-", "l": "email id-", "k": "amount-", "s": "amount- born-"},
    ),
    "compared": (
        "select email is null as a, email like 'x%' as b, id in ('1', email) as c, not (email = id) as d, "
        "amount between 1 and 2 as e, exists (select 1 from raw.people) as f from raw.people",
        {"a": "email-", "b": "email-", "c": "email- id-", "d": "email- id-", "e": "amount-", "f": ""},
    ),
    "cases": (
        "select case when email is null then 'none' else id end as a, case email when 'x' then 1 end as b, "
        "if(amount > 1, email, '') as c, coalesce(email, id) as d from raw.people",
        {"a": "email- id", "b": "email-", "c": "amount- email", "d": "email id"},
    ),
    "made of a value": (
        "select md5(email) as a, length(email) as b, try_cast(email as integer) as c, year(born) as d, "
        "amount * 2 as e, 'x' || email as f from raw.people",
        {"a": "email", "b": "email", "c": "email", "d": "born", "e": "amount", "f": "email"},
    ),
    "subquery in a condition": (
        "select case when id in (select email from raw.people) then born end as a from raw.people",
        {"a": "born email- id-"},
    ),
}

# Queries of which these columns, or all (None), are not followed.
NOT_FOLLOWED: dict[str, tuple[str, set[str] | None]] = {
    "a table that nobody declares": ("select * from raw.others", None),
    "its columns by name": ("select x from raw.others", {"x"}),
    "files": ("select * from read_csv('people.csv')", None),
    "SQL in a string": ("select * from query('select email from raw.people')", None),
    "pivot": ("select * from (pivot raw.people on email using count(*))", None),
    "pivot as SQL has it": ("select id, a from raw.people pivot (count(*) for email in ('a'))", {"id", "a"}),
    "unpivot": ("select k, v from (unpivot raw.people on email, id into name k value v)", {"k", "v"}),
    "columns by a pattern": ("select columns('e.*') from raw.people", {"_col_0"}),
    "whole rows": ("select people as p, id from raw.people", {"p"}),
    "a table under other column names": ("select t.amount from raw.people as t(a, amount)", {"amount"}),
    "a name twice": ("select id, email as id from raw.people", {"id"}),
    "no query": ("summarize raw.people", None),
    "two": ("select 1 as a; select email from raw.people", None),
    "Python": ("def model(dbt, session):\n    return dbt.ref('people')\n", None),
    "no SQL that there is": ("select frobnicate email within from", None),
}


def said(sql: str) -> dict[str, str | None] | None:
    found = columns_of_query(sql, TABLES)
    if found is None:
        return None
    return {
        name: None if parts is None else " ".join(sorted(f"{p.column}{'' if p.carried else '-'}" for p in parts))
        for name, parts in found.items()
    }


@pytest.fixture(scope="module")
def people() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA raw")
    connection.execute(f"CREATE TABLE raw.people ({', '.join(f'{chr(34)}{n}{chr(34)} {t}' for n, t in TYPES.items())})")
    connection.execute(
        "INSERT INTO raw.people VALUES ('canary-id', 'canary-email', 'canary-name', "
        "{'street': 'canary-street', 'town': {'zip': 'canary-street'}}, ['canary-phone'], 90210, '1931-05-06')"
    )
    return connection


@pytest.mark.parametrize("case", FOLLOWED)
def test_a_column_is_followed(case: str) -> None:
    sql, carried = FOLLOWED[case]
    assert said(sql) == carried


@pytest.mark.parametrize("case", FOLLOWED)
def test_no_value_comes_out_that_is_not_said_to_be_carried(case: str, people: duckdb.DuckDBPyConnection) -> None:
    sql, carried = FOLLOWED[case]
    ran = people.execute(sql)
    assert ran.description is not None
    names = [str(column[0]).lower() for column in ran.description]
    assert names == list(carried)
    for row in ran.fetchall():
        for name, value in zip(names, row, strict=True):
            came_out = {column for column, canary in CANARIES.items() if canary in str(value).lower()}
            # A sum over one row is its value, and yet says nothing of many.
            counted = {each[:-1] for each in carried[name].split() if each.endswith("-")}
            told = carried[name].replace("Full Name", "Full_Name").split()
            assert {c.replace(" ", "_") for c in came_out - counted} <= set(told), (name, value)


@pytest.mark.parametrize("case", NOT_FOLLOWED)
def test_what_cannot_be_followed_is_said_to_be_so(case: str) -> None:
    sql, unknown = NOT_FOLLOWED[case]
    found = said(sql)
    assert (None if found is None else {name for name, parts in found.items() if parts is None}) == unknown
