"""Versions: what a declaration amounts to, as a digest that every process finds alike.

Belongs here: values and functions of any kind, told apart by what they are and do. Elsewhere: which parts of a
declaration count (model.py, feed.py). No repr of an object is looked at: it may hold an address or a set's order.
"""

import copyreg
import dis
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

import pandera.polars as pa
import polars as pl
from pandera.api.function_dispatch import Dispatcher

from platform_assets.engine.contract.rules import pandera_name, rule_of

_SHOWN: Final = 12
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(...), Decimal, date, timedelta)
_GLOBALS: Final = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ENGINE: Final = __name__.rsplit(".", 2)[0]
_INSTALLED: Final = tuple({Path(sysconfig.get_path(each)) for each in ("purelib", "platlib")})


def digest(value: object, *, package: str = "") -> str:
    """Changes whenever `value` is or does something else; the same in every process, whatever its hash seed.

    Of a function this takes in its code (not where it stands, nor its comments), its defaults, what it closes over and
    what it uses of its module, and so on from there; of an object its state. What is installed or comes with Python
    counts by its name alone, unless it is of the top-level `package`. Code is that of the Python that runs: another
    minor version of Python is another version of a function.
    """
    return _Reading(package).of(value).hex()[:_SHOWN]


class _Reading:
    """One digest under way."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._open: list[int] = []
        self._done: dict[int, bytes] = {}

    def of(self, value: Any) -> bytes:  # noqa: ANN401 - anything at all
        """What `value` amounts to. What holds itself is named by how far up that is."""
        if type(value) in _PLAIN:
            return _mixed(type(value).__name__, repr(value).encode())
        if (known := self._done.get(id(value))) is not None:
            return known
        if id(value) in self._open:
            return _mixed("above", str(len(self._open) - self._open.index(id(value))).encode())
        self._open.append(id(value))
        try:
            found = self._of(value)
        finally:
            self._open.pop()
        if isinstance(value, FunctionType | type):  # these stay, and with them their ids
            self._done[id(value)] = found
        return found

    def _of(self, value: Any) -> bytes:  # noqa: ANN401 - see above
        kind = type(value)
        if kind in (list, tuple):
            return self._all(kind.__name__, value)
        if kind in (set, frozenset):
            return _mixed("set", *sorted(map(self.of, value)))
        if kind in (dict, MappingProxyType):
            return _mixed("dict", *sorted(self._all("item", item) for item in value.items()))
        if kind is CodeType:
            return self._code(value)
        if kind is FunctionType:
            return self._function(value)
        if kind is MethodType:
            return self._all("method", (value.__func__, value.__self__))
        if kind in (classmethod, staticmethod):
            return self._all(kind.__name__, (value.__func__,))
        if kind is property:
            return self._all("property", (value.fget,))
        if kind is ModuleType:
            return _mixed("module", value.__name__.encode())
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, pl.Series):  # pickled, it tells what happened to it as well
            return self._all("series", (value.name, str(value.dtype), value.to_list()))
        if isinstance(value, pl.DataFrame):
            return self._all("frame", value.get_columns())
        if isinstance(value, functools._lru_cache_wrapper):  # what it remembers is no part of it
            return self._all("cached", (value.__wrapped__,))
        if isinstance(value, pa.Check):
            return self._check(value)
        return self._object(value)

    def _all(self, name: str, parts: Iterable[Any]) -> bytes:
        return _mixed(name, *map(self.of, parts))

    def _object(self, value: Any) -> bytes:  # noqa: ANN401 - see above
        """By its state, as it would be pickled; by its type alone where it cannot be, such as a lock."""
        try:
            kind: Any = type(value)
            reduce = copyreg.dispatch_table.get(kind)
            state = kind.__reduce_ex__(value, 4) if reduce is None else reduce(value)
        except Exception:  # noqa: BLE001 - whatever its author made of it
            return self._all("opaque", (type(value),))
        if isinstance(state, str):
            return self._all("global", (type(value), state))
        made_by, given, held, listed, items = (*state, None, None, None)[:5]
        return self._all("object", (made_by, given, held, list(listed or ()), dict(items or ())))

    def _check(self, check: Any) -> bytes:  # noqa: ANN401 - pandera is not typed
        """By what it does; pandera's own checks by their names, since it finds their functions by the data's type."""
        function = check._check_fn
        does = function.__name__ if isinstance(function, Dispatcher) else function
        reads = (check.element_wise, check.ignore_na, check.groupby, check.groups)
        return self._all("check", (pandera_name(check) or rule_of(check), does, check._check_kwargs, reads))

    def _function(self, function: FunctionType) -> bytes:
        bound = (function.__defaults__, function.__kwdefaults__, *map(_held, function.__closure__ or ()))
        if not self._ours(function.__module__):
            return self._all("function", (f"{function.__module__}.{function.__qualname__}", bound))
        return self._all("function", (function.__code__, bound, self._used(function)))

    def _code(self, code: CodeType) -> bytes:
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return self._all("code", (code.co_code, code.co_exceptiontable, code.co_consts, shape, names))

    def _class(self, one: type) -> bytes:
        if not self._ours(one.__module__):
            return _mixed("class", f"{one.__module__}.{one.__qualname__}".encode())
        members = {
            key: member
            for key, member in vars(one).items()
            if not key.startswith("__") or (isinstance(member, FunctionType) and self._ours(member.__module__))
        }
        members.pop("_abc_impl", None)
        return self._all("class", (one.__bases__, members))

    def _used(self, function: FunctionType) -> dict[str, object]:
        """What the function, and functions within it, use of its module: values by their names there."""
        used: dict[str, object] = {}
        for name, attributes in _names(function.__code__):
            if name not in function.__globals__:
                continue  # Python's own
            used[name] = value = function.__globals__[name]
            if isinstance(value, ModuleType) and self._ours(value.__name__):
                used |= {f"{name}.{each}": vars(value)[each] for each in attributes if each in vars(value)}
        return used

    def _ours(self, module: str | None) -> bool:
        """Whether what stands in the module is declared by the people whose platform this is."""
        top = (module or "").partition(".")[0]
        if top in sys.stdlib_module_names or f"{module}.".startswith(f"{_ENGINE}."):
            return False
        file = getattr(sys.modules.get(module or ""), "__file__", None)
        return top == self._package or file is None or not any(at in Path(file).parents for at in _INSTALLED)


def _mixed(name: str, *parts: bytes) -> bytes:
    together = hashlib.sha256(name.encode())
    for part in parts:
        together.update(len(part).to_bytes(8, "big") + part)
    return together.digest()


def _held(cell: Any) -> object:  # noqa: ANN401 - a cell has no type of its own
    try:
        return cell.cell_contents
    except ValueError:  # nothing is in it yet
        return None


@functools.cache
def _names(code: CodeType) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The global names that code uses, with every name that it uses beside them."""
    found = {str(each.argval): code.co_names for each in dis.get_instructions(code) if each.opname in _GLOBALS}
    inner = [each for const in code.co_consts if isinstance(const, CodeType) for each in _names(const)]
    for name, attributes in inner:
        found[name] = (*found.get(name, ()), *attributes)
    return tuple(found.items())
