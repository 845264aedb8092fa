"""`platform erase`: a person out of a feed and all that is made of it, with a certificate; and verifying one.

Belongs here: what dbt makes of the feed, and of which columns; who asked, in the audit log. Elsewhere: the steps
(engine/erasure.py).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.erase.certificate import Verified, public_key, verified
from platform_assets.engine.erase.tombstones import Key, Person
from platform_assets.engine.erasure import Erasure
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.erasure import Made
from platform_assets.engine.store.marts import built_tables
from platform_assets.engine.store.pseudonyms import SETTING
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import audit_log, configured_deployment, declared_marts, declared_project
from platform_assets.project.graph import raw_name
from platform_assets.project.lineage import Lineage, lineage_of, noted_origins
from platform_assets.project.manifest import asset_name, current_manifest, is_asset
from platform_assets.project.personal import Personal
from platform_assets.settings import Settings, person

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Looked:
    """What there is of a person: as a certificate would tell it, with nothing changed."""

    erasure: str
    found: Mapping[str, Any]
    landing_files: Sequence[str]


@dataclass(frozen=True)
class Erased:
    """What an erasure came to. ok: whether nothing of the person was found afterwards."""

    ok: bool
    erasure: str
    certificate: Mapping[str, Any]
    file: Path
    landing_files: Sequence[str]


def looked_for(feed: str, where: Mapping[str, str], tell: Tell) -> Looked:
    """What there is of the person; nothing is changed."""
    _, erasure = _erasure(feed, where, tell)
    account, landing = erasure.look(person())
    return Looked(account.erasure, asdict(account), landing)


def erased(feed: str, where: Mapping[str, str], tell: Tell) -> Erased:
    """Take the person out of everything."""
    deployment, erasure = _erasure(feed, where, tell)
    about = {"feed": feed, "columns": sorted(where), "erasure": erasure.id}
    with audit_log(deployment.home).doing(person(), "erase", about) as came:
        certificate, path, landing = erasure.run(person())
        came.update(about)
        came["left"] = sum(certificate["left"].values())
    return Erased(not certificate["left"], certificate["erasure"], certificate, path, landing)


def verified_certificate(certificate: Path, public: str | None) -> Verified:
    """Whether the certificate is sound, and by whom: compared with `public`, or with the key of this deployment."""
    secret = Settings.from_environment().erase_key
    return verified(certificate, public or (None if secret is None else public_key(Key(secret.reveal()))))


def _erasure(feed: str, where: Mapping[str, str], tell: Tell) -> tuple[Deployment, Erasure]:
    _, deployment = configured_deployment(tell)
    chosen = Person(deployment.feed(feed), where)
    deployment.prepare()
    _refuse_without_key(deployment)
    made, assets = _made_of(deployment, chosen.feed, sorted(where))
    return deployment, Erasure(deployment, chosen, made, assets, tell)


def _refuse_without_key(deployment: Deployment) -> None:
    """Raise ConfigurationError where releases have pseudonyms, by which a person is found only with their key."""
    marts = [mart for release in deployment.all_releases() for mart in release.marts.values()]
    if any(mart.pseudonyms is not None for mart in marts) and deployment.pseudonym_key is None:
        raise ConfigurationError(
            SETTING,
            "is not set, and releases have pseudonyms, by which nobody is found without their key",
            "Set it. If it is lost, set another: releases with pseudonyms of the lost one are then removed.",
        )


def _made_of(deployment: Deployment, feed: Feed, columns: Sequence[str]) -> tuple[Made, list[str]]:
    """What dbt makes of the feed, and the names of these assets."""
    manifest = current_manifest()
    project = declared_project(deployment.feeds)
    below = project.below([raw_name(feed)])
    dbt = json.loads(manifest.read_bytes())
    nodes = {asset_name(node): node for key, node in dbt["nodes"].items() if is_asset(dbt, key)}
    tables = {name: (nodes[name]["schema"], nodes[name]["alias"]) for name in below if name in nodes}
    snapshots = {name for name in tables if nodes[name]["resource_type"] == "snapshot"}
    followed = _followed(deployment, dbt)
    # Which columns of each asset are made of which of the feed's, inputs first.
    made: dict[str, Mapping[str, set[str]]] = {raw_name(feed): {column: {column} for column in columns}}
    for name in tables:
        lineage = followed.get(nodes[name]["unique_id"], {})
        made[name] = {
            column: {
                mine
                for mine, deps in lineage.items()
                if any(dep.carried and dep.column in made.get(dep.asset, {}).get(column, ()) for dep in deps or ())
            }
            for column in columns
        }
        if name in snapshots:
            for column in columns:
                made[name][column].update(
                    *(made.get(each, {}).get(column, set()) for each in project.nodes[name].inputs)
                )
    # What models do not tell any more, as an erasure that was killed has dropped them, was noted when they were built.
    for mart, noted in noted_origins(deployment.home).items():
        for name in (each for each in tables if each == f"marts/{mart}"):
            for column in columns:
                carries = (mine for mine, parts in noted.columns.items() if (feed.name, column) in (parts or ()))
                made[name][column].update(carries)
    return Made(
        models=[table for name, table in tables.items() if name not in snapshots],
        snapshots=[tables[name] for name in snapshots],
        columns={table: made[name] for name, table in tables.items()},
    ), list(tables)


def _followed(deployment: Deployment, dbt: Mapping[str, Any]) -> Lineage:
    """What the columns of dbt's nodes are made from, as far as the SQL tells."""
    target, personal = deployment.home / "dbt", Personal(dbt, deployment.feeds, declared_marts())
    if not target.is_dir():
        return {}
    return lineage_of(dbt, built_tables(deployment.warehouse), target, personal.may_name)
