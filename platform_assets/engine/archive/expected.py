"""What the producer announces that a delivery is, such as its number of records, and checking a delivery by it.

Belongs here: the announcement, as receipts and journal keep it. Elsewhere: reading one (sources/sidecar.py).
"""

import re
from dataclasses import dataclass
from typing import Final

from platform_assets.errors import DeliveryRefused, quoted

_SAYS: Final = re.compile(r"(?<= says ).*(?=, which is not understood$)", re.DOTALL)


@dataclass(frozen=True)
class Expected:
    """What a delivery should be: its number of records, the SHA-256 of its bytes; None where nothing is announced.

    problem: why the announcement is not understood.
    """

    rows: int | None = None
    fingerprint: str | None = None
    problem: str | None = None

    @property
    def quoted_problem(self) -> str:
        """The problem, what the announcement says quoted."""
        return _SAYS.sub(lambda found: quoted(found[0]), self.problem or "")

    def check(self, *, fingerprint: str | None = None, read: int | None = None) -> None:
        """Raise DeliveryRefused where the delivery is not what was expected, by what is known of it so far."""
        if self.problem is not None:
            raise DeliveryRefused(
                self.quoted_problem,
                remedy="Let it hold nothing, a record count (`123`, `rows=123`) or `sha256=…`, each on a line.",
            )
        if None not in (fingerprint, self.fingerprint) and fingerprint != self.fingerprint:
            raise DeliveryRefused(
                f"the sidecar announces SHA-256 {self.fingerprint}, but the file has {fingerprint}",
                remedy="Ask the producer to deliver the file and its sidecar again.",
            )
        if None not in (read, self.rows) and read != self.rows:
            raise DeliveryRefused(
                f"the sidecar announces {self.rows} records, but the file has {read}",
                remedy="The file may be cut off: ask the producer to deliver it and its sidecar again.",
            )


NOTHING: Final = Expected()
