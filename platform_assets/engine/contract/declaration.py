"""Declarations as their authors write them: arguments that exist, of the types that they are annotated with.

Belongs here: checking names and types when something is declared, and saying in words what was wanted.
Elsewhere: what values mean and contradict (the declarations), in which line of which file it stands (project/place.py).
"""

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeVar, Union

from platform_assets.errors import ConfigurationError, nearest, printable

_Class = TypeVar("_Class", bound=type)
_P = ParamSpec("_P")
_R = TypeVar("_R")
# What other tools call these types.
USUAL_TYPES: Final = {
    **dict.fromkeys(("string", "text", "varchar", "char", "object", "utf8"), "str"),
    **dict.fromkeys(("integer", "bigint", "int64", "int32", "long"), "int"),
    **dict.fromkeys(("numeric", "number", "money", "dec"), "Decimal"),
    **dict.fromkeys(("double", "real", "float64", "float32"), "float"),
    **dict.fromkeys(("timestamp", "timestamptz"), "datetime"),
    **dict.fromkeys(("boolean",), "bool"),
}
_LONGEST: Final = 60  # characters of a value
_EXAMPLE: Final = re.compile(r"[Ss]uch as\s+`([^`]+)`")
_WORDS: Final[dict[Any, str]] = {
    str: "a text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    type(None): "None",
    date: "a day, such as date(2026, 3, 1)",
    timedelta: "a time, such as hours(3)",
}


def declaration(kind: _Class) -> _Class:
    """A class whose arguments are checked when one is declared, before it looks at them itself."""
    kind.__init__ = checked(kind.__name__)(kind.__init__)  # type: ignore[misc]
    return kind


def checked(called: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """The same function; wrong arguments raise ConfigurationError, which names the argument, and the nearest right
    word where one is near."""

    def wrapped(made: Callable[_P, _R]) -> Callable[_P, _R]:
        parameters = inspect.signature(made).parameters

        @functools.wraps(made)
        def make(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            _check(called, parameters, args, kwargs)
            return made(*args, **kwargs)

        return make

    return wrapped


def refuse_unknown(called: str, given: Iterable[str], known: Collection[str], meant: Mapping[str, str]) -> None:
    """Raise ConfigurationError for an argument that is not known; meant: what is written instead of usual words."""
    for name in given:
        if name not in known:
            near = f" Did you mean {meant[name]!r}?" if name in meant else nearest(name, known)
            raise ConfigurationError(
                f"{called}.{name}", f"{called.partition('(')[0]} has no such argument.{near}", _rest(known)
            )


def refuse_other_columns(key: str, names: Iterable[str], contract: type, columns: Collection[str]) -> None:
    """Raise ConfigurationError for a name that is none of the contract's columns."""
    for name in names:
        if name not in columns:
            raise ConfigurationError(
                key,
                f"{name!r} is not a column of {contract.__name__}.{nearest(name, columns)}",
                f"Name some of: {', '.join(columns)}.",
            )


def no_type(given: object, kinds: Collection[type]) -> tuple[str, str]:
    """That this is no type of a column, of which there are `kinds`, and what to write instead."""
    known = [kind.__name__ for kind in kinds]
    parts = [each for each in typing.get_args(given) if each is not type(None)]
    if len(parts) == 1 and parts[0] in kinds and type(None) in typing.get_args(given):
        name = parts[0].__name__
        return f"{name} | None is not how a contract says it", f"Write {name}, and Field(nullable=True)."
    name = given if isinstance(given, str) else getattr(given, "__name__", str(given))
    meant = USUAL_TYPES.get(name.lower())
    near = f" Did you mean {meant!r}?" if meant else nearest(name, known)
    return f"type {name} is not one a contract knows.{near}", f"Use one of: {', '.join(known)}."


def _check(
    called: str, parameters: Mapping[str, inspect.Parameter], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> None:
    ours = {name: each for name, each in parameters.items() if name != "self"}
    named = [name for name, each in ours.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    several = next((each for each in ours.values() if each.kind is each.VAR_POSITIONAL), None)
    open_to_more = any(each.kind is each.VAR_KEYWORD for each in ours.values())
    positional = args[1:] if "self" in parameters else args
    given = {**dict(zip(named, positional, strict=False)), **kwargs}
    if isinstance(name := given.get("name"), str):
        called = f"{called}({printable(name, _LONGEST)!r})"
    known = [name for name, each in ours.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    if not open_to_more:
        refuse_unknown(called, kwargs, known, {})
    if several is not None:
        for each in positional:
            _fit(f"{called}.{several.name}", several.annotation, each)
    elif len(positional) > len(named):
        extra = printable(repr(positional[len(named)]), _LONGEST)
        raise ConfigurationError(called, f"{extra} stands there without a name", _rest(known))
    for name in known:
        if name in given:
            if given[name] is not ours[name].default:
                _fit(f"{called}.{name}", ours[name].annotation, given[name])
        elif ours[name].default is inspect.Parameter.empty:
            raise ConfigurationError(
                f"{called}.{name}", "is missing", f"Write {name}={_example(ours[name].annotation)}."
            )


def _rest(known: Collection[str]) -> str:
    return f"Its arguments are: {', '.join(known)}."


def _fit(key: str, wanted: Any, value: object) -> None:  # noqa: ANN401 - an annotation
    if _fits(wanted, value):
        return
    shown = value.__name__ if isinstance(value, type) else printable(repr(value), _LONGEST)
    words = [each for each in _choices(wanted) if isinstance(each, str)]
    near = nearest(value, words) if isinstance(value, str) else ""
    raise ConfigurationError(key, f"{shown} is not {_words(wanted)}.{near}", _remedy(key, wanted, value))


def _fits(wanted: Any, value: object) -> bool:  # noqa: ANN401 - an annotation
    if wanted is Any or wanted is inspect.Parameter.empty:
        return True
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, types.UnionType):
        return any(_fits(each, value) for each in parts)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in parts)
    if origin is type:
        return isinstance(value, type) and issubclass(value, parts[0])
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return isinstance(value, tuple | set | frozenset) and all(_fits(parts[0], each) for each in value)
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, parts, value))
    if origin is Mapping:  # what a name is given, the declaration looks at
        return isinstance(value, Mapping) and all(_fits(parts[0], each) for each in value)
    if origin is not None:  # a sequence, a collection
        return not isinstance(value, str) and isinstance(value, origin) and all(_fits(parts[0], each) for each in value)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted is None:
        return value is None
    if Protocol in getattr(wanted, "__mro__", ()) and getattr(wanted, "_is_protocol", False):
        return not isinstance(value, type) and all(hasattr(value, each) for each in _asked_by(wanted))
    return isinstance(value, wanted)


def _asked_by(protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]


def _choices(wanted: Any) -> list[object]:  # noqa: ANN401 - an annotation
    parts = typing.get_args(wanted)
    if typing.get_origin(wanted) is Literal:
        return list(parts)
    return [choice for each in parts if each is not Ellipsis for choice in _choices(each)]


def _words(wanted: Any) -> str:  # noqa: ANN401 - an annotation
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_words, parts)))
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}" if len(parts) > 1 else repr(parts[0])
    if origin is type:
        return f"a class that begins with `class …({parts[0].__name__}):`"
    if origin is tuple and Ellipsis in parts:
        return "texts in a tuple" if parts[0] is str else f"{_words(parts[0])}, or more, in a tuple"
    if origin is tuple:
        return f"{len(parts)} in a tuple: {', '.join(map(_words, parts))}"
    if origin is Mapping:
        return "names in curly brackets, each with what it is given, such as {'name': 'drop'}"
    if origin is not None:
        return "several in square brackets"
    return _WORDS.get(wanted) or f"a declaration such as {_example(wanted)}"


def _example(wanted: Any) -> str:  # noqa: ANN401 - an annotation
    """How one is written: what its docstring gives as an example."""
    first = next((each for each in typing.get_args(wanted) if each is not type(None)), None)
    if typing.get_origin(wanted) is Literal:
        return repr(first)
    if typing.get_origin(wanted) in (Union, types.UnionType):
        return _example(first)
    if typing.get_origin(wanted) is tuple:
        return '("a", "b")'
    found = _EXAMPLE.search(inspect.getdoc(wanted) or "") if wanted not in _WORDS else None
    return " ".join(found[1].split()) if found else "…" if wanted not in (str,) else '"…"'


def _remedy(key: str, wanted: Any, value: object) -> str:  # noqa: ANN401 - an annotation
    argument = key.rpartition(".")[2]
    options = typing.get_args(wanted) if typing.get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    if any(typing.get_origin(each) is tuple for each in options):
        if isinstance(value, str):
            return f"Write {argument}=({printable(value, _LONGEST)!r},): the comma makes it a tuple."
        if isinstance(value, list):
            return f"Write {argument}=({', '.join(map(repr, value))},), in round brackets."
    if timedelta in options and isinstance(value, int | float):
        return f"Write {argument}=hours({value}), or minutes({value})."
    if typing.get_origin(wanted) is Mapping:
        return f"Give {_words(wanted)}."
    if choices := _choices(wanted):
        return f"Give one of {', '.join(map(repr, choices))}."
    if isinstance(value, type) and not any(typing.get_origin(each) is type for each in options):
        return f"Write {argument}={value.__name__}(…): it stands there without its brackets."
    return f"Write {argument}={_example(wanted)}." if _example(wanted) != "…" else f"Give {_words(wanted)}."
