"""How much of a delivery readers take at once, in one record and in all. In bytes, but for times.

Belongs here: what bounds memory, room and time. Elsewhere: what an author declares of a file (feed/formats.py).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Limits:
    """at_once: of text and markup. record: a line; a record of JSON or XML. over_lines: a CSV record that spans lines.

    unpacked: what a packed file may hold whatever its size; beyond it the ratio counts. batch: values of Parquet.
    parser_s, parser_memory, parser_output: what a parser in a process of its own may take, hold and write; for a large
    Parquet file it may take longer.
    """

    at_once: int = 8 << 20
    markup_at_once: int = 1 << 20
    record: int = 64 << 20
    over_lines: int = 16 << 20
    unpacked: int = 100 << 20
    batch: int = 256 << 20
    parser_s: int = 300
    parser_memory: int = 2 << 30
    parser_output: int = 8 << 30


LIMITS: Final = Limits()
