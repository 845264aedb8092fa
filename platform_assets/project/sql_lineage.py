"""What each column of a query is made from, as its SQL says: sqlglot parses and qualifies it, this follows columns.

Belongs here: one query, and what of its data a column carries. Elsewhere: the queries of dbt's models (lineage.py),
which columns are personal (personal.py). What cannot be followed is said to be so, by column: nothing is guessed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

Relation: TypeAlias = tuple[str, str, str]
"""A table: database, schema and name."""

DIALECT: Final = "duckdb"
# A number of rows, or something added up over them, tells no value; nor does a place in an order. A smallest, largest,
# first or middle one is a value itself.
_TELL_NO_VALUE: Final = (
    *("Count", "CountIf", "ApproxDistinct", "Sum", "Avg", "Corr", "CovarPop", "CovarSamp", "LogicalAnd", "LogicalOr"),
    *("Stddev", "StddevPop", "StddevSamp", "Variance", "VariancePop"),
    *("RowNumber", "Rank", "DenseRank", "PercentRank", "CumeDist", "Ntile"),
)
_NAMES: Final = (("Alias", "alias"), ("Dot", "expression"), ("PropertyEQ", "this"), ("Kwarg", "this"))
_MADE_UP: Final = ("range", "generate_series", "generateseries")


class Part(NamedTuple):
    """A column of a table that another column is made from. carried: whether its values may be in there, rather than
    having been counted, added up, compared or asked for NULL."""

    relation: Relation
    column: str
    carried: bool


def columns_of_query(
    sql: str, tables: Mapping[Relation, Mapping[str, str]]
) -> dict[str, frozenset[Part] | None] | None:
    """Each column of the query, in lower case, with what it is made from; None for one that cannot be followed, and in
    all where the query cannot be. tables: those it may read, with the types of their columns."""
    from sqlglot import exp, parse_one
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope
    from sqlglot.schema import MappingSchema

    schema = MappingSchema(dialect=DIALECT)
    for relation, columns in tables.items():
        catalog, db, table = (exp.to_identifier(part, quoted=True) for part in relation)
        schema.add_table(exp.Table(this=table, db=db, catalog=catalog), dict(columns), dialect=DIALECT)
    try:
        parsed = parse_one(sql, dialect=DIALECT)
        if not isinstance(parsed, exp.Query):
            return None
        query = qualify(parsed, schema=schema, dialect=DIALECT, validate_qualify_columns=False)
        scope = build_scope(query)
        if scope is None:
            return None
        known = {tuple(map(str.lower, relation)): relation for relation in tables}
        following = _Following(known, tables, any(each.recursive for each in query.find_all(exp.With)))
        found: dict[str, frozenset[Part] | None] = {}
        for name in dict.fromkeys(_names(query)):
            try:
                found[name] = following.column(scope, name, carried=True)
            except _NotFollowed:
                found[name] = None
        return found if "*" not in found else None
    except Exception:  # noqa: BLE001 - sqlglot raises what it likes on SQL that it does not know
        return None


class _NotFollowed(Exception):
    """Why does not matter: it is so said of the column."""


@dataclass
class _Following:
    """Follows columns from scope to scope down to tables."""

    known: Mapping[tuple[str, ...], Relation]
    tables: Mapping[Relation, Mapping[str, str]]
    recursive: bool
    _done: dict[tuple[int, str], frozenset[Part]] = field(default_factory=dict)
    _under_way: set[tuple[int, str]] = field(default_factory=set)

    def column(self, scope: "Scope", name: str, *, carried: bool) -> frozenset[Part]:
        """What a column of a scope's query is made from."""
        asked = id(scope), name
        if asked in self._under_way:  # a recursive query reads itself
            return frozenset()
        if (found := self._done.get(asked)) is None:
            self._under_way.add(asked)
            try:
                found = frozenset(self._column(scope, name))
            finally:
                self._under_way.discard(asked)
            if not self.recursive:  # of one that reads itself this may be a part
                self._done[asked] = found
        return found if carried else frozenset(part._replace(carried=False) for part in found)

    def _column(self, scope: "Scope", name: str) -> Iterator[Part]:
        from sqlglot import exp

        query = scope.expression
        if isinstance(query, exp.SetOperation):
            names = _names(query)
            for side in scope.set_operation_scopes:
                theirs = _names(side.expression)
                if query.args.get("by_name"):
                    if name in theirs:
                        yield from self.column(side, name, carried=True)
                    continue
                if len(theirs) != len(names) or names.count(name) != 1:
                    raise _NotFollowed
                yield from self.column(side, theirs[names.index(name)], carried=True)
            return
        if not isinstance(query, exp.Select):
            yield from self._all_in(query, scope)
            return
        chosen = [each for each in query.selects if each.alias_or_name.lower() == name]
        if len(chosen) != 1 or query.args.get("pivots"):
            raise _NotFollowed
        yield from self._in(chosen[0], scope, carried=True)

    def _all_in(self, query: "exp.Expr", scope: "Scope") -> Iterator[Part]:
        """Of VALUES, UNNEST and other functions that give rows: everything that they are given."""
        from sqlglot import exp

        if not isinstance(query, exp.UDTF | exp.Func):
            raise _NotFollowed
        for name, each in _children(query):
            if name != "alias":
                yield from self._in(each, scope, carried=True)

    def _in(self, node: Any, scope: "Scope", *, carried: bool) -> Iterator[Part]:  # noqa: ANN401 - sqlglot's nodes
        """What an expression is made from."""
        from sqlglot import exp

        match node:
            case exp.Column():
                yield from self._of(node, scope, carried=carried)
                return
            case exp.Star() | exp.TableColumn() if not carried:  # counted rows
                return
            case exp.Star() | exp.Columns() | exp.TableColumn() | exp.Identifier():
                raise _NotFollowed
            case exp.DataType():
                return
            case exp.Subquery() | exp.Query():
                yield from self._within(node, scope, carried=carried)
                return
            case exp.Exists():
                return
            case exp.Lambda():
                yield from self._in_lambda(node, scope, carried=carried)
                return
        for name, each in _children(node):
            yield from self._in(each, scope, carried=carried and _carries(node, name))

    def _in_lambda(self, node: "exp.Lambda", scope: "Scope", *, carried: bool) -> Iterator[Part]:
        """What the body adds to what it is called with, which is counted where the list itself stands."""
        from sqlglot import exp

        own = {each.name.lower() for each in node.expressions}
        for each in node.this.find_all(exp.Column):
            if each.table or each.name.lower() not in own:
                yield from self._of(each, scope, carried=carried)

    def _within(self, node: "exp.Expr", scope: "Scope", *, carried: bool) -> Iterator[Part]:
        """What a query within an expression gives."""
        query = node.unnest()
        for inner in scope.subquery_scopes:
            if inner.expression is query:
                for name in _names(query):
                    yield from self.column(inner, name, carried=carried)
                return
        raise _NotFollowed

    def _of(self, column: "exp.Column", scope: "Scope", *, carried: bool) -> Iterator[Part]:
        from sqlglot import exp

        name, at = column.name.lower(), scope
        if not column.table or column.args.get("db"):
            raise _NotFollowed
        while column.table not in at.sources:
            if at.parent is None:
                raise _NotFollowed
            at = at.parent
        source = at.sources[column.table]
        if not isinstance(source, exp.Table):
            if isinstance(whole := source.expression.parent, exp.SetOperation):
                # Within a recursive query its name stands for its first part, as sqlglot has it.
                source = _around(at, whole)
            if source.expression.parent is not None and _pivoted(source.expression.parent):
                raise _NotFollowed
            yield from self.column(source, name, carried=carried)
            return
        if _pivoted(source):
            raise _NotFollowed
        if not isinstance(source.this, exp.Identifier):
            yield from self._of_function(source, scope)
            return
        if (alias := source.args.get("alias")) is not None and alias.columns:  # under other names than its own
            raise _NotFollowed
        relation = self._relation(source)
        real = {each.lower(): each for each in self.tables[relation]}
        if name not in real:
            raise _NotFollowed
        yield Part(relation, real[name], carried)

    def _of_function(self, source: "exp.Table", scope: "Scope") -> Iterator[Part]:
        """A function in the place of a table: one that reads nothing is made from what it is given."""
        called = source.this.name if source.this.key == "anonymous" else source.this.key
        if called.lower() not in _MADE_UP:
            raise _NotFollowed
        for _, each in _children(source.this):
            yield from self._in(each, scope, carried=True)

    def _relation(self, table: "exp.Table") -> Relation:
        parts = tuple(part.name.lower() for part in table.parts)
        fitting = [known for known in self.known if known[-len(parts) :] == parts]
        if len(fitting) != 1:
            raise _NotFollowed
        return self.known[fitting[0]]


def _names(query: "exp.Expr") -> list[str]:
    """The columns of a query, as names are compared."""
    from sqlglot import exp

    if not isinstance(query, exp.Query):
        raise _NotFollowed
    return [name.lower() for name in query.named_selects]


def _around(scope: "Scope | None", query: "exp.Expr") -> "Scope":
    """The scope of a query that the scope lies in."""
    while scope is not None:
        if scope.expression is query:
            return scope
        scope = scope.parent
    raise _NotFollowed


def _children(node: "exp.Expr") -> Iterator[tuple[str, Any]]:
    """The parts of an expression by what they are to it, without the names that it gives or takes fields by."""
    from sqlglot import exp

    for name, value in node.args.items():
        for each in value if isinstance(value, list) else [value]:
            names = isinstance(each, exp.Identifier) and (type(node).__name__, name) in _NAMES
            if isinstance(each, exp.Expr) and not names:
                yield name, each


def _carries(node: "exp.Expr", argument: str) -> bool:
    """Whether what is given as that argument may be in what comes out."""
    from sqlglot import exp

    if isinstance(node, exp.Predicate | exp.Connector | exp.Not) or type(node).__name__ in _TELL_NO_VALUE:
        return False
    match node:
        case exp.Case():
            return argument != "this"
        case exp.If():
            return argument != "this"
        case exp.Window() | exp.Filter():
            return argument == "this"
        case exp.Order():
            return argument == "this" or isinstance(node.parent, exp.WithinGroup)
    return True


def _pivoted(node: "exp.Expr") -> bool:
    return bool(node.args.get("pivots"))
