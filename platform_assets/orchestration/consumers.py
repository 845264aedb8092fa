"""Consumers in Dagster: who reads the marts, as the last assets of the lineage; nothing makes them.

Belongs here: their keys, owners and what they use. Elsewhere: who they are (project/exposures.py), what would break for
them (project/consumers.py).
"""

import re

import dagster as dg

from platform_assets.orchestration.markdown import code, table
from platform_assets.project.exposures import Consumer
from platform_assets.project.graph import Project


def consumer_assets(project: Project) -> list[dg.AssetSpec]:
    """An asset for each consumer, downstream of the marts that it uses and of the releases that it reads them from."""
    return [_asset(consumer, project) for consumer in project.consumers]


def _asset(consumer: Consumer, project: Project) -> dg.AssetSpec:
    above = [name for mart in consumer.uses for name in project.read_as(mart)]
    uses = [(code(mart), "all" if of is None else ", ".join(map(code, of))) for mart, of in consumer.uses.items()]
    about = consumer.description or consumer.label
    return dg.AssetSpec(
        dg.AssetKey(["consumers", consumer.name]),
        deps=[dg.AssetKey(name.split("/")) for name in dict.fromkeys(above)],
        description=f"{about}\n\nReads marts: declared as an exposure in `dbt_project/{consumer.file}`.",
        group_name="consumers",
        owners=[_owner(consumer)],
        kinds={consumer.kind},
        metadata={
            "uses": dg.MetadataValue.md(table(("mart", "columns"), uses)),
            **({"url": dg.MetadataValue.url(consumer.url)} if consumer.url.startswith(("https://", "http://")) else {}),
        },
    )


def _owner(consumer: Consumer) -> str:
    """Who is to be asked, as Dagster takes owners: an address, or a team."""
    address = consumer.email.partition(",")[0].strip()
    return address if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address) else f"team:{consumer.owner or consumer.name}"
