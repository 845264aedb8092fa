"""`platform release personal`: the personal columns of marts, where each is from, and what becomes of it in a release.

Belongs here: the answer, put together of what is declared and what was noted at the last build. Elsewhere: finding it
(project/treatments.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from platform_assets.errors import ConfigurationError, nearest
from platform_assets.project.causes import Cause
from platform_assets.project.configured import (
    configured_deployment,
    declared_project,
)
from platform_assets.project.state import State


@dataclass(frozen=True)
class TreatedColumn:
    """A personal column. made_from: the columns of feeds that it carries, as `feed.column`; where it cannot be
    followed, the feeds that it may be from. in_release: drop, pseudonym or keep; None: nobody has declared it."""

    product: str
    mart: str
    column: str
    made_from: tuple[str, ...]
    followed: bool
    in_release: str | None


@dataclass(frozen=True)
class PersonalData:
    """Personal data in releases. refused: products that are not released for it. not_built: marts of which is not known
    what they are made from, as they were never built."""

    columns: list[TreatedColumn]
    refused: list[Cause]
    not_built: list[str]


def personal_data(product: str | None, tell: Callable[[str], None]) -> PersonalData:
    """The personal columns of that product's marts, or of all; takes no lock."""
    _, deployment = configured_deployment(tell)
    project = declared_project(deployment.feeds)
    if product is not None:
        _refuse_unknown(product, [each.name for each in project.products])
    state = State.of(project, deployment)
    found = [state.personal(each) for each in project.products if product in (None, each.name)]
    not_built = [mart for each in found for mart in each.unknown]
    columns = [
        TreatedColumn(
            of.product.name, each.mart, each.column.name, each.column.made_from, each.column.followed, each.treatment
        )
        for of in found
        for each in of.columns
        if each.mart not in of.unknown
    ]
    refused = [cause for each in found if not each.unknown and (cause := each.refused) is not None]
    return PersonalData(columns, refused, not_built)


def _refuse_unknown(product: str, known: Sequence[str]) -> None:
    if product not in known:
        raise ConfigurationError(
            f"product {product!r}",
            f"there is none of that name.{nearest(product, known)}",
            f"Products are: {', '.join(known)}." if known else "Write a mart first.",
        )
