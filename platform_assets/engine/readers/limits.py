"""How much of a delivery readers take at once, in one record and in all. In bytes.

Belongs here: what bounds memory and room. Elsewhere: what is used up while a delivery is read (budget.py), what an
author declares of a file (feed/formats.py).
"""

from dataclasses import dataclass, field
from typing import Final

from platform_assets.engine.durable.disk import ANY, Disk
from platform_assets.engine.readers.budget import Budget


@dataclass(frozen=True)
class Limits:
    """at_once: of text and markup. record: a line; a record of JSON or XML. over_lines: a CSV record that spans lines.

    unpacked: what a packed file may hold whatever its size; beyond it the ratio counts. batch: values of rows that are
    handed on together. parser_memory, parser_output: what a parser in a process of its own may hold and write.
    budget: of the one delivery that is read. disk: on which it is unpacked, and of which something is left free.
    """

    at_once: int = 8 << 20
    markup_at_once: int = 1 << 20
    record: int = 64 << 20
    over_lines: int = 16 << 20
    unpacked: int = 100 << 20
    batch: int = 64 << 20
    parser_memory: int = 2 << 30
    parser_output: int = 8 << 30
    budget: Budget = field(default_factory=Budget)
    disk: Disk = ANY


LIMITS: Final = Limits()
