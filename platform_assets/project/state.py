"""State: what is out of date, what may be made now, and what holds the rest back.

Belongs here: that one answer, from what is stored: revisions of feeds, what each asset was last made from, results of
its blocking checks, today's code. Sensors, automation, `platform run`, `platform why`, alerts and the release ask it.
Elsewhere: runs under way or failed (automation.py), storing (builds.py), how a cause reads (causes.py). No event is
needed to have been seen, and no Dagster here, so that asking costs nothing.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.ticks import last_tick
from platform_assets.engine.store.builds import Built, CheckResult, Made
from platform_assets.engine.store.pin import Pin
from platform_assets.engine.store.release import Release
from platform_assets.errors import listed
from platform_assets.project.causes import Cause, Kind, check_failed
from platform_assets.project.consumers import Ending, breaks, endings, offered_by, treated, would_break
from platform_assets.project.exports import unexported
from platform_assets.project.graph import Node, Project, version_from
from platform_assets.project.products import ReleasedProduct, still_serving
from platform_assets.project.treatments import Treatments, treatments_in

OF_A_PRODUCT: Final[Collection[Kind]] = ("personal data", "would break consumers")
"""Causes that hold a product, however sound its marts are."""


@dataclass(frozen=True)
class HeldBack:
    """Assets that a failed blocking check keeps from being made. by: what failed it. why: in words."""

    by: str
    why: str
    assets: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """What is stored, at one moment. revisions: of the feeds' rows, 0 before the first delivery. releases: product ->
    the release that readers get; pinned: product -> its pin, if it has one, and the release that was published last;
    unpublished: feeds that were changed by a process that could not tell; arrives: says of a feed without rows whether
    its first files are about to come in, and personal: what becomes of personal data in a product's releases, each
    looked at only where that is asked; unexported: of what goes to another database why that is not as the release is,
    by what it last said."""

    project: Project
    built: Built
    revisions: Mapping[str, int]
    releases: Mapping[str, Release | None]
    now: datetime
    pinned: Mapping[str, tuple[Pin, Release | None]] = field(default_factory=dict)
    unpublished: Collection[str] = ()
    arrives: Callable[[str], bool] = lambda _: False
    personal: Callable[[ReleasedProduct], Treatments] = Treatments
    unexported: Mapping[str, str] = field(default_factory=dict)
    _wanted: dict[str, str] = field(default_factory=dict, repr=False)
    _refused: dict[str, Cause | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, project: Project, deployment: Deployment) -> "State":
        """As it is now; takes no lock of the warehouse."""
        now = deployment.clock()
        revisions = {feed.name: deployment.revision_published(feed) for feed in deployment.feeds}

        @functools.cache
        def arrives(feed: str) -> bool:
            return bool(deployment.ready(deployment.feed(feed)))

        releases = {each.name: deployment.releases_of(each.name).current() for each in project.products}
        return cls(
            project=project,
            built=deployment.builds.read(),
            revisions=revisions,
            releases=releases,
            pinned={each.name: held for each in project.products if (held := deployment.releases_of(each.name).held())},
            now=now,
            unpublished=[feed.name for feed in deployment.feeds if deployment.unpublished(feed)],
            arrives=arrives,
            personal=treatments_in(deployment),
            unexported=unexported(project.exports, releases, deployment),
        )

    def published(self, product: str) -> Release | None:
        """The release of the product with which what is built is compared: where one is pinned, others lie beside."""
        return self.pinned[product][1] if product in self.pinned else self.releases.get(product)

    @cached_property
    def begun(self) -> bool:
        """Whether any feed has ever had rows: before, there is nothing to make."""
        return any(self.revisions.values())

    def wanted(self, name: str) -> str:
        """The version that the asset would have if everything were made now."""
        if name not in self._wanted:
            node = self.project.nodes[name]
            if node.feed is not None:
                self._wanted[name] = str(self.revisions.get(node.feed.name, 0))
            else:
                self._wanted[name] = version_from(node.code, {each: self.aimed_at(each) for each in node.inputs})
        return self._wanted[name]

    def aimed_at(self, name: str) -> str:
        """The version that what is below is to be made from: the wanted one, unless that waits for its time."""
        made = self.built.made.get(name)
        return made.version if made is not None and self._waits_for_its_time(name) else self.wanted(name)

    def _waits_for_its_time(self, name: str) -> bool:
        node = self.project.nodes[name]
        made = self.built.made.get(name)
        if node.cron is None or made is None:
            return False
        tick = last_tick(node.cron.cron, node.cron.timezone, node.cron.closed, self.now)
        return tick is None or tick <= made.at

    def outdated(self, name: str) -> str | None:
        """Why the asset is not what it should be by now; None where it is, or where its time has not come."""
        node = self.project.nodes[name]
        if node.feed is not None:
            return self._unaudited(node, node.feed)
        if self._waits_for_its_time(name):
            return None
        if (product := self.project.product_of(name)) is not None:
            return self._unreleased(product)
        if node.export is not None:
            return self.unexported.get(name)
        made = self.built.made.get(name)
        if made is None:
            return "it is not there, or was made by a run that did not end"
        if made.version != self.wanted(name):
            if made.code != node.code:
                return "its code has changed since it was made"
            newer = [each for each in node.inputs if made.inputs.get(each) != self.aimed_at(each)]
            return f"{listed(newer, 3)} changed since it was made" if newer else "it was made while an input had failed"
        open_checks = self._unanswered(made)
        return f"{listed(open_checks, 3)} did not run on it" if open_checks else None

    def _unaudited(self, node: Node, feed: Feed) -> str | None:
        """Why a feed's rows have to be looked at by a run: nobody has told of them, or checked them."""
        if feed.name in self.unpublished:
            return "a run that changed it could not tell of it"
        version = self.wanted(node.name)
        if version == "0":
            return None
        made = self.built.made.get(node.name)
        if made is None or made.version != version:
            return "its newest rows are not checked"
        if made.code != node.code:
            return "what it is held to has changed since it was checked"
        open_checks = self._unanswered(made)
        return f"{listed(open_checks, 3)} did not run on its newest rows" if open_checks else None

    def _unreleased(self, product: ReleasedProduct) -> str | None:
        release = self.published(product.name)
        if release is None:
            return "there is no release yet"
        got, held = self.releases.get(product.name), self.pinned.get(product.name)
        if held is not None and (got is None or got.id != held[0].release):
            return "readers do not get the release that is pinned"
        marts = dict(zip(product.tables, product.marts, strict=True))
        made_from = release.made_from
        newer = [mart for table, mart in marts.items() if made_from.get(table) != self.aimed_at(mart)]
        gone = [table for table in made_from if table not in marts]
        if newer or gone:
            return f"{listed(newer or gone, 3)} changed since the last release"
        told = [table for table, each in release.marts.items() if each.until != self.project.end_of(table)]
        if told or release.latest != self.project.latest_of(product):
            return "what its readers are told of versions changed since the last release"
        others = self.personal(product).changed_since(release)
        return (
            f"what becomes of personal data in {listed(others, 3)} changed since the last release" if others else None
        )

    def ending(self) -> list[Ending]:
        """Versions of marts that end soon or have ended."""
        return endings(self.project.consumers, self.project.offers, self.project.latest, self.now.date())

    def refused(self, product: ReleasedProduct) -> Cause | None:
        """Why the product must not be released, however sound its marts are; None where it may be."""
        if product.name not in self._refused:
            self._refused[product.name] = self.personal(product).refused or self._would_break(product)
        return self._refused[product.name]

    def _would_break(self, product: ReleasedProduct) -> Cause | None:
        """What a release of the product, as today's code makes it, would take from who reads the one that there is."""
        release = self.releases.get(product.name)
        if release is None:
            return None
        offers = treated(self.project.offers, {mart: self.personal(product).of(mart) for mart in product.tables})
        found = breaks(self.project.consumers, offered_by(release), offers, self.now.date())
        return would_break(found, product, release) if found else None

    def verdict(self, name: str, check: str) -> CheckResult | None:
        """What the check said of the asset as it is now."""
        found = self.built.results.get((name, check))
        made = self.built.made.get(name)
        return found if found is not None and made is not None and found.version == made.version else None

    def _unanswered(self, made: Made) -> list[str]:
        """Blocking checks that have said nothing of the asset as it is now."""
        return [check for check in made.checks if self.verdict(made.asset, check) is None]

    def to_be_made(self, name: str) -> bool:
        """Whether the asset is not what it should be: it is out of date, or failed its checks. Before the first rows
        nothing is to be made."""
        return self.begun and (self.outdated(name) is not None or bool(self.failing(name)))

    def failing(self, name: str) -> list[CheckResult]:
        """Blocking checks that failed on the asset as it is now."""
        made = self.built.made.get(name)
        if made is None:
            return []
        verdicts = (self.verdict(name, check) for check in made.checks)
        return [verdict for verdict in verdicts if verdict is not None and not verdict.passed]

    def _failed_check(self, name: str) -> Cause | None:
        for verdict in self.failing(name):
            return check_failed(name, verdict.name, verdict.description, verdict.at, blocking=True)
        return None

    def _unsound(self, name: str) -> Cause | None:
        """Why nothing may be made from the asset as it is."""
        if (failed := self._failed_check(name)) is not None:
            return failed
        if (why := self.outdated(name)) is not None:
            return Cause("out of date", name, f"{name} is out of date", evidence=why)
        feed = self.project.nodes[name].feed
        if feed is not None and not self.revisions.get(feed.name, 0) and self.arrives(feed.name):
            return Cause("new file", name, f"the first files of {feed.name} are about to come in")
        return None

    def held(self, name: str, together: Collection[str] = ()) -> Cause | None:
        """What keeps the asset from being made now, if `together` are made before it in the same run. What readers
        have is exported, whatever becomes of the next release."""
        if self.project.nodes[name].export is not None:
            return None
        for each in self.project.nodes[name].inputs:
            if each not in together and (cause := self._unsound(each)) is not None:
                return cause
        product = self.project.product_of(name)
        # What is made before it in the same run may have other columns then.
        return self.refused(product) if product is not None and not {*product.marts} & {*together} else None

    def held_back(self, names: Collection[str]) -> list[HeldBack]:
        """What of these assets failed blocking checks hold back, by what holds it."""
        found: dict[tuple[str, str], list[str]] = {}
        for name in names:
            cause = self.first_cause(name)
            if cause is not None and (cause.kind in OF_A_PRODUCT or self.failing(cause.asset)):
                found.setdefault((cause.asset, self.held_words(cause)), []).append(name)
        return [HeldBack(by, why, tuple(assets)) for (by, why), assets in found.items()]

    def held_words(self, cause: Cause) -> str:
        """What holds an asset back, and what readers have meanwhile."""
        below = {cause.asset, *self.project.below([cause.asset])}
        products = [each.name for each in self.project.products if each.release in below]
        serving = still_serving({name: self.releases.get(name) for name in products})
        return f"held back by {cause.asset}: {cause.evidence or cause.what}; {serving}"

    def first_cause(self, name: str) -> Cause | None:
        """What holds the asset back, followed up to where it has to be mended."""
        cause = self.held(name)
        while (
            cause is not None
            and cause.kind not in ("check failed", *OF_A_PRODUCT)
            and (above := self.held(cause.asset)) is not None
        ):
            cause = above
        return cause

    def due(self, starts: Collection[str] = (), barred: Collection[str] = ()) -> list[str]:
        """What is to be made now, inputs first: everything out of date that nothing holds back, and what will be when
        `starts` bring new rows; not those, and neither what is `barred` nor what would have to be made from it."""
        if not self.begun and not starts:
            return []
        together = set(starts)
        found = []
        for node in self.project.nodes.values():
            name = node.name
            if node.feed is not None or name in barred:
                continue
            stale = self.outdated(name) is not None
            follows = node.cron is None and bool(together.intersection(node.inputs))
            if (stale or follows) and self.held(name, together) is None:
                together.add(name)
                found.append(name)
        return found

    def to_run(self, starts: Collection[str]) -> list[str]:
        """What a person who says `run` wants: `starts`, for which files are pending, whatever is out of date or has
        failed its checks, and all that is made from these, inputs first. What fails there holds back the rest."""
        found = set(starts)
        if not self.begun and not starts:
            return []
        for name, node in self.project.nodes.items():
            product = self.project.product_of(name)
            refused = None if product is None else self.refused(product)
            if refused is not None and refused.kind == "would break consumers":
                continue  # to build it again would change nothing
            stale = self.outdated(name) is not None or bool(self.failing(name))
            if stale or (node.cron is None and found.intersection(node.inputs)):
                found.add(name)
        return [name for name in self.project.nodes if name in found]

    def unreleased(self, product: ReleasedProduct) -> dict[str, int]:
        """Feeds with rows that the product's release does not hold, and the revision up to which it does."""
        release = self.published(product.name)
        there = release.built_from if release is not None else {}
        feeding = [node.feed for name in self.project.above(product.release) if (node := self.project.nodes[name]).feed]
        return {
            feed.name: there.get(feed.name, 0)
            for feed in feeding
            if feed is not None and self.revisions.get(feed.name, 0) > there.get(feed.name, 0)
        }

    def unfit(self, product: ReleasedProduct) -> Cause | None:
        """Why the product's marts, as they are, must not be released: something is missing, not audited, or not of a
        piece."""
        for name in self.project.above(product.release)[:-1]:
            if (failed := self._failed_check(name)) is not None:
                return failed
            node = self.project.nodes[name]
            if node.feed is not None:
                continue
            made = self.built.made.get(name)
            if made is None:
                return Cause("out of date", name, f"{name} is not there, or was made by a run that did not end")
            if open_checks := self._unanswered(made):
                return Cause("out of date", name, f"check {open_checks[0]} of {name} did not run on it")
            inputs = {
                each: made.inputs.get(each, "") if self.project.nodes[each].feed is not None else self._version(each)
                for each in node.inputs
            }
            if made.version != version_from(node.code, inputs):
                why = "its code has changed" if made.code != node.code else "its inputs have been made again"
                return Cause("out of date", name, f"{name} has to be made again", evidence=why)
        return self.refused(product)

    def _version(self, name: str) -> str:
        made = self.built.made.get(name)
        return made.version if made is not None else ""

    def makes(self, names: Collection[str], at: datetime, run: str) -> dict[str, Made]:
        """How each of the models would be noted if all of `names` were made now, from the inputs as they are: what is
        not among them as it was made, feeds as of their revisions."""
        found: dict[str, Made] = {}
        for name, node in self.project.nodes.items():
            if name not in names or node.feed is not None:
                continue
            inputs, revisions, sound = {}, dict[str, int](), True
            for each in node.inputs:
                feed = self.project.nodes[each].feed
                above = found.get(each) or self.built.made.get(each)
                if feed is not None:
                    inputs[each] = self.wanted(each)
                    revisions[feed.name] = self.revisions.get(feed.name, 0)
                else:
                    inputs[each] = above.version if above is not None else ""
                    for of, revision in (above.revisions if above is not None else {}).items():
                        revisions[of] = min(revision, revisions.get(of, revision))
                # A person may have it made from what a check does not let through; it is then not what is wanted.
                sound &= each in found or not self.failing(each)
            version = version_from(node.code, inputs)
            found[name] = Made(name, version if sound else f"{version}, unsound", node.code, at, run, inputs, revisions)
        return found
