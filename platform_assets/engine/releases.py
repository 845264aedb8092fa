"""Releases by name: which one a person means, going back to it, and on to the newest.

Belongs here: what the command line and Dagster's launchpad both do. Elsewhere: what that does to readers
(store/serving.py), comparing and listing (commands/releases.py). No lock of the warehouse is taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.pin import Pin
from platform_assets.engine.store.release import Release, Releases
from platform_assets.errors import ConfigurationError, ReleaseRefused, listed, nearest

NAMES: Final = ("current", "previous", "newest", "shadow")
"""What a release may be called besides its id."""


@dataclass(frozen=True)
class WentBack:
    """What readers of a product get from now on. before: what they had. lacking: columns that they then miss, or that
    have another type, as mart.column. newest: the release that was published last."""

    product: str
    release: str
    before: str | None
    newest: str | None
    pin: Pin
    lacking: Sequence[str]


def go_back(deployment: Deployment, words: Sequence[str], why: str, by: str) -> WentBack:
    """Give readers an earlier release again, at once, and pin it; by default that before the current one."""
    releases, release = meant(deployment, words, "previous")
    if release.shadow:
        raise ConfigurationError(
            f"release {release.id}", "is a shadow, which nobody has audited", "Name one of: platform release list"
        )
    before, newest = releases.current(), releases.newest()
    pin = releases.pin(release, by, why, deployment.clock())
    return WentBack(
        product=releases.product,
        release=release.id,
        before=None if before is None else before.id,
        newest=None if newest is None else newest.id,
        pin=pin,
        lacking=list(_lacking(before, release)),
    )


def _lacking(before: Release | None, release: Release) -> Iterator[str]:
    for mart, each in (before.marts if before is not None else {}).items():
        there = release.marts[mart].columns if mart in release.marts else {}
        for column, kind in each.columns.items():
            if there.get(column) != kind:
                yield f"{mart}.{column}"


@dataclass(frozen=True)
class WentOn:
    """What readers of a product get now that its pin is taken out."""

    product: str
    release: str
    pin: Pin


def go_on(deployment: Deployment, product: str | None) -> WentOn:
    """Take the pin of a product out: readers get its newest release. Raises ConfigurationError where none is pinned."""
    pinned = [(each, pin) for each in of_products(deployment, product) if (pin := each.pinned()) is not None]
    if not pinned:
        raise ConfigurationError(
            f"product {product!r}" if product else "unpin", "no release is pinned", "Readers have the newest already."
        )
    if len(pinned) > 1:
        names = listed([each.product for each, _ in pinned])
        raise ConfigurationError("unpin", f"{names} are pinned", "Name one: platform release unpin PRODUCT")
    releases, pin = pinned[0]
    newest = releases.unpin(deployment.clock())
    if newest is None:
        raise no_release(releases.product)
    return WentOn(releases.product, newest.id, pin)


def of_products(deployment: Deployment, product: str | None) -> list[Releases]:
    """The releases of that product, or of each that has any."""
    names = deployment.released_products()
    if product is not None and product not in names:
        raise ConfigurationError(
            f"product {product!r}",
            f"has no release.{nearest(product, names)}",
            f"Name one of: {listed(names)}." if names else "Nothing was released yet: platform run",
        )
    return [deployment.releases_of(name) for name in names if product in (None, name)]


def meant(deployment: Deployment, words: Sequence[str], default: str) -> tuple[Releases, Release]:
    """The release that these words name: `PRODUCT`, `RELEASE`, `PRODUCT RELEASE` or `PRODUCT/RELEASE`, where a release
    is an id, the beginning of one, or one of NAMES; else `default`. Raises ConfigurationError where there
    is none, or several could be meant."""
    parts = [part for word in words for part in word.split("/")]
    names = deployment.released_products()
    product = parts.pop(0) if parts and (parts[0] in names or len(parts) > 1) else None
    if len(parts) > 1:
        raise ConfigurationError(f"release {'/'.join(words)!r}", "is no release", "Name it as PRODUCT/ID.")
    name = parts[0] if parts else default
    chosen = of_products(deployment, product)
    found = [(releases, release) for releases in chosen for release in _called(releases, name)]
    if len(found) == 1:
        return found[0]
    if not chosen:
        raise no_release(product)
    if not found:
        known = [each.id for releases in chosen for each in releases.all()]
        near = nearest(name, [*known, *names, *NAMES])
        raise ConfigurationError(
            f"release {name!r}",
            _LACKS.get(name, "there is none of that id") + f".{near if name not in NAMES else ''}",
            f"`platform release list` shows all; {listed(NAMES)} are names, too.",
        )
    several = [f"{releases.product}/{release.id}" for releases, release in found]
    raise ConfigurationError(f"release {name!r}", "could be several", f"Say which: {listed(several)}.")


_LACKS: Final = {
    "current": "there is none",
    "previous": "there is none before the current one",
    "newest": "there is none",
    "shadow": "there is none; `platform release --shadow` makes one",
}


def _called(releases: Releases, name: str) -> list[Release]:
    """The releases of a product that may be meant by that name."""
    found: Release | None
    if name == "previous":
        current, listing = releases.current(), releases.all()
        ids = [each.id for each in listing]
        at = ids.index(current.id) + 1 if current is not None and current.id in ids else len(ids)
        return listing[at : at + 1]
    if name in NAMES:
        found = {"current": releases.current, "newest": releases.newest, "shadow": releases.shadow}[name]()
        return [] if found is None else [found]
    known = [*releases.all(), *filter(None, [releases.shadow()])]
    exactly = [each for each in known if each.id == name]
    return exactly or [each for each in known if name and each.id.startswith(name)]


def no_release(product: str | None) -> ReleaseRefused:
    of = f" of {product}" if product else ""
    return ReleaseRefused(f"there is no release{of} yet", "Make one: platform run")
