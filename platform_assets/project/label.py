"""What is known of a product's marts when they are released: the part of a manifest that does not lie in their tables.

Belongs here: that, by what is stored of builds and checks. Elsewhere: whether they are fit (state.py), the manifest
(engine/store/release.py).
"""

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.release import Label, MartLabel
from platform_assets.project.products import ReleasedProduct
from platform_assets.project.state import State


def label_of(product: ReleasedProduct, state: State, deployment: Deployment) -> Label:
    """What the product's marts hold, and why they are not fit to be released, if so."""
    marts = {}
    personal = state.personal(product)
    for mart, name in zip(product.tables, product.marts, strict=True):
        if (made := state.built.made.get(name)) is None:
            continue
        newest = deployment.newest_data(made.revisions)
        verdicts = {check: state.verdict(name, check) for check in made.checks}
        marts[mart] = MartLabel(
            version=made.version,
            code=made.code,
            built_from=made.revisions,
            newest=None if newest is None else newest.isoformat(),
            checks=[check for check, verdict in verdicts.items() if verdict is not None and verdict.passed],
            personal=personal.of(mart),
            pseudonyms=personal.key_of(mart),
            until=state.project.end_of(mart),
        )
    decided = deployment.decided(sorted({feed for mart in marts.values() for feed in mart.built_from}))
    unfit = state.unfit(product)
    key = None if personal.key is None else deployment.pseudonym_key
    return Label(marts, decided, None if unfit is None else str(unfit), key, state.project.latest_of(product))
