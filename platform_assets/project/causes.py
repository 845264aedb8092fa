"""Causes: why data does not reach an asset. Alerts, `platform why`, the UI and the release show the same values.

Belongs here: what a cause is, and how it reads. Elsewhere: finding causes in what is stored (state.py), among runs
(orchestration/runs/automation.py), in what Dagster has stored and in deliveries (orchestration/watch/causes.py).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal[
    "all is well",
    "check failed",
    "daemon down",
    "dbt error",
    "delivery missing",
    "delivery quarantined",
    "disk low",
    "file not settled",
    "held back",
    "new file",
    "not asked for yet",
    "nothing delivered",
    "out of date",
    "pinned",
    "personal data",
    "pool busy",
    "run cancelled",
    "run failed",
    "run queued",
    "run under way",
    "sensor failed",
    "sensor off",
    "waits to try again",
    "would break consumers",
]


@dataclass(frozen=True)
class Cause:
    """Why data does not reach an asset.

    asset: where it has to be mended. what: what happened, a clause. effect: what follows from it, a clause. evidence:
    file, line, figures, text of an error; personal data is masked. remedy: what happens by itself, or what to do.
    command: the one to type then, where somebody has asked.
    key: the same over retries, restarts and looks; "" where nobody is told of it unasked. owner: who is to mend it.
    waiting: the assets that wait for that, inputs first. Both are empty where only asset and state are known.
    """

    kind: Kind
    asset: str
    what: str
    effect: str = ""
    evidence: str = ""
    remedy: str = ""
    command: str = ""
    since: datetime | None = None
    key: str = ""
    owner: str = ""
    waiting: tuple[str, ...] = ()

    @property
    def waits_for_people(self) -> bool:
        """Whether nothing failed, and somebody has to deliver or mend something."""
        return self.kind in ("delivery missing", "delivery quarantined", "nothing delivered", "pinned")

    @property
    def headline(self) -> str:
        """What happened and what follows, as a sentence without its stop."""
        said = f"{self.what}; {self.effect}" if self.effect else self.what
        return said[:1].upper() + said[1:]

    @property
    def sentence(self) -> str:
        """All that is to be said of it but what to do."""
        return f"{self.headline}: {self.evidence}" if self.evidence else self.headline

    def __str__(self) -> str:
        """What happened, with its evidence, as a part of a sentence."""
        return f"{self.what}: {self.evidence}" if self.evidence else self.what


def check_failed(asset: str, check: str, evidence: str, since: datetime, *, blocking: bool) -> Cause:
    """A check that did not pass."""
    return Cause(
        kind="check failed",
        asset=asset,
        what=f"check {check} of {asset} failed",
        effect="nothing is built on it until it passes" if blocking else "it holds nothing back",
        evidence=evidence,
        remedy=f"The page of {asset} in the UI shows rows. Mend the data, the contract or the model; then "
        "`platform run` checks it again.",
        since=since,
        key=f"check:{asset}:{check}",
    )
