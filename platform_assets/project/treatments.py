"""What becomes of personal data in the releases of a product: dropped, pseudonymised or kept, as its author declares.

Belongs here: each mart's columns with their treatment, what nobody has declared, and what a person does about it.
Elsewhere: which columns are personal (personal.py), the declaration (engine/feed/product.py), pseudonyms (the store).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.product import Product
from platform_assets.engine.store.pseudonyms import MAKE_ONE, SETTING, Key
from platform_assets.engine.store.release import Release
from platform_assets.errors import ConfigurationError, counted, listed, nearest
from platform_assets.project.causes import Cause
from platform_assets.project.lineage import Made, noted_origins
from platform_assets.project.personal import PersonalColumn, personal_of
from platform_assets.project.place import MARTS_PACKAGE, place_in
from platform_assets.project.products import ReleasedProduct

_SHOWN: Final = 10


@dataclass(frozen=True)
class Treated:
    """A personal column of a mart. treatment: None where nobody has declared it."""

    mart: str
    column: PersonalColumn
    treatment: str | None


@dataclass(frozen=True)
class Treatments:
    """What becomes of personal data in the releases of a product.

    columns: those that are personal, or declared to be. unnamed: by mart, how many columns have names that may be data.
    unknown: marts of which nobody can say what they are made from. wrong: what is declared of columns that are not
    there. key: the name of the key of pseudonyms; None where there is none. no_key: why, where one is needed.
    """

    product: ReleasedProduct
    columns: Sequence[Treated] = ()
    unnamed: Mapping[str, int] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    wrong: Sequence[str] = ()
    key: str | None = None
    no_key: str | None = None

    def of(self, mart: str) -> dict[str, str]:
        """Column -> its treatment, of a mart."""
        return {each.column.name: each.treatment for each in self.columns if each.mart == mart and each.treatment}

    def key_of(self, mart: str) -> str | None:
        """The name of the key that the mart's pseudonyms are to be made with; None where it has none."""
        return self.key if "pseudonym" in self.of(mart).values() else None

    def changed_since(self, release: Release) -> list[str]:
        """The marts of a release of which something else becomes of personal data now. Without a key nobody knows
        whether another was meant."""
        undeclared = {each.mart for each in self.undeclared}
        return [
            mart
            for mart, made in release.marts.items()
            if mart not in self.unknown
            and (
                mart in undeclared
                or dict(made.personal) != self.of(mart)
                or self.key_of(mart) not in (made.pseudonyms, None)
            )
        ]

    @property
    def undeclared(self) -> list[Treated]:
        """What would be released, and nobody has said how."""
        return [each for each in self.columns if each.treatment is None]

    @property
    def refused(self) -> Cause | None:
        """Why the product must not be released; None where it may be."""
        if self.undeclared:
            return self._cause(
                "its marts have columns with personal data, and nobody has declared what becomes of these",
                _told(self.undeclared),
                f"Declare it {self._place}: {self.line}",
            )
        if self.unnamed:
            marts = (f"{counted(many, 'column')} of {mart}" for mart, many in sorted(self.unnamed.items()))
            return self._cause(
                "the names of some columns may be personal data themselves: they are written nowhere",
                listed(list(marts), _SHOWN),
                "Name each column in the model's YAML file, or select columns by name; then `platform run`.",
            )
        if self.wrong:
            return self._cause(
                "what it declares of personal data names columns that are not there",
                listed(list(self.wrong), _SHOWN),
                f"Mend it {self._place}.",
            )
        if self.unknown:
            return self._cause(
                "what columns are made from was not noted when these were built",
                listed(list(self.unknown), _SHOWN),
                "Build them again: materialize them in the UI.",
            )
        if self.no_key is not None:
            return self._cause("it is to have pseudonyms, and there is no key to make them with", *self._to_make_key())
        return None

    @property
    def line(self) -> str:
        """The declaration to paste, with what is there already; the safest treatment for what nobody has declared."""
        before = self.product.declared.personal
        declared: dict[str, str] = dict(before)
        names = [each.column.name for each in self.undeclared]
        for each in self.undeclared:
            name = each.column.name
            everywhere = name not in before and (names.count(name) > 1 or len(self.product.tables) == 1)
            declared[name if everywhere else f"{each.mart}.{name}"] = "drop"
        name = self.product.name
        variable = "".join(letter if letter.isalnum() else "_" for letter in name).upper()
        variable = variable if variable[:1].isalpha() else f"PRODUCT_{variable}"
        told = ", ".join(f"{_text(column)}: {_text(treatment)}" for column, treatment in declared.items())
        return f"{variable} = Product({_text(name)}, personal={{{told}}})"

    @property
    def _place(self) -> str:
        place = place_in("Product", self.product.name, MARTS_PACKAGE)
        return f"in {place}" if ":" in place else f"in a file of {place}"

    def _to_make_key(self) -> tuple[str, str]:
        marts = [mart for mart in self.product.tables if "pseudonym" in self.of(mart).values()]
        return f"{SETTING} {self.no_key}; pseudonyms are in {listed(marts, _SHOWN)}", (
            f"Make a key once, and keep it as you keep passwords: {MAKE_ONE}. With another key every pseudonym changes."
        )

    def _cause(self, what: str, evidence: str, remedy: str) -> Cause:
        name = self.product.name
        return Cause(
            kind="personal data",
            asset=self.product.release,
            what=f"{name} is not released: {what}",
            effect="readers keep what they have",
            evidence=evidence,
            remedy=remedy,
            key=f"personal:{name}",
            owner=self.product.owner,
            waiting=(self.product.release,),
        )


def treatments_in(deployment: Deployment) -> Callable[[ReleasedProduct], Treatments]:
    """What becomes of personal data in each product of a deployment, looked at once."""

    @functools.cache
    def found(product: ReleasedProduct) -> Treatments:
        noted = noted_origins(deployment.home)
        return treatments_of(product, noted, deployment.feeds, lambda: deployment.pseudonym_key)

    return found


def treatments_of(
    product: ReleasedProduct,
    noted: Mapping[str, Made],
    feeds: Sequence[Feed],
    key: Callable[[], Key | None] = lambda: None,
) -> Treatments:
    """What becomes of personal data in a product. noted: what the columns of its marts are made from; key: gives that
    of pseudonyms, asked where there are any."""
    contracts = {mart.name: mart for mart in product.contracts}
    found: list[Treated] = []
    unnamed: dict[str, int] = {}
    unknown: list[str] = []
    there: dict[str, list[str]] = {}
    for mart in product.tables:
        made, contract = noted.get(mart), contracts.get(mart)
        personal = {each.name: each for each in personal_of(contract, made, feeds)}
        promised = () if contract is None else tuple(column.name for column in contract.columns)
        there[mart] = list(dict.fromkeys([*(made.columns if made is not None else ()), *promised]))
        if made is None and any(shown_of(feed.contract).personal for feed in feeds):
            unknown.append(mart)
        if made is not None and made.unnamed and _is_personal(made, feeds):
            unnamed[mart] = made.unnamed
        for column in there[mart]:
            treatment = _declared(product.declared, mart, column)
            if column in personal or treatment is not None:
                found.append(Treated(mart, personal.get(column) or PersonalColumn(column), treatment))
    wrong = [] if unknown else list(_wrong(product.declared, there))
    named, no_key = _key(key) if any(each.treatment == "pseudonym" for each in found) else (None, None)
    return Treatments(product, found, unnamed, unknown, wrong, named, no_key)


def _key(key: Callable[[], Key | None]) -> tuple[str | None, str | None]:
    """The name of the key, or why there is none."""
    try:
        given = key()
    except ConfigurationError as error:
        return None, error.said[0].removeprefix(f"{SETTING}: ")
    return (None, "is not set") if given is None else (given.id, None)


def _is_personal(made: Made, feeds: Iterable[Feed]) -> bool:
    """Whether a mart is made from a feed with personal data, or from one that nobody declares any more."""
    by_name = {feed.name: feed for feed in feeds}
    return any(feed not in by_name or shown_of(by_name[feed].contract).personal for feed in made.feeds)


def _declared(product: Product, mart: str, column: str) -> str | None:
    """What the author says becomes of a column: of that mart's, else of any mart's."""
    by_name = {name.casefold(): treatment for name, treatment in product.personal.items()}
    own = by_name.get(f"{mart}.{column}".casefold())
    return own if own is not None else by_name.get(column.casefold())


def _wrong(product: Product, there: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What is declared of columns that no mart has."""
    every = [column for columns in there.values() for column in columns]
    known = {name.casefold() for name in [*every, *(f"{mart}.{c}" for mart, cs in there.items() for c in cs)]}
    for name in product.personal:
        if name.casefold() not in known:
            mart, _, column = name.partition(".")
            near = nearest(column, there[mart]) if mart in there else nearest(name, every)
            yield f"{name!r}.{near}" if near else repr(name)


def _told(columns: Sequence[Treated]) -> str:
    """The columns, and where each is from."""
    return listed([f"{each.mart}.{each.column.name} ({origin_of(each.column)})" for each in columns], _SHOWN)


def origin_of(column: PersonalColumn) -> str:
    """Where a personal column is from, in words."""
    if not column.followed:
        return f"cannot be followed; it may be from {listed(list(column.made_from), 3)}"
    if column.made_from:
        return f"from {listed(list(column.made_from), 3)}"
    return "as its contract says" if column.marked else "as it is declared"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
