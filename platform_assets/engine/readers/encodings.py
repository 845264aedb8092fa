"""Which encodings a text may be in, as far as its bytes tell.

Belongs here: guesses for remedies, which are then tried. Elsewhere: decoding what is declared (text.py).
"""

import re
from typing import Final

FAR: Final = 64 << 20  # bytes in which a character of another encoding is looked for

_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT: Final = 2000


def likely_encodings(content: bytes, declared: str) -> list[str]:
    """The encodings that `content`, the first FAR bytes of a text, may be in; none where it is one with damages."""
    if content.startswith(_MARKS):
        return ["utf-16"]
    begin = content[:_LOOKED_AT]
    for encoding, high in (("utf-16-le", 1), ("utf-16-be", 0)):
        if 3 * begin[high::2].count(0) > len(begin[high::2]):
            return [encoding]
    for encoding in dict.fromkeys((declared, "utf-8")):
        if _decodes(content, encoding):
            return [encoding]
    read = content.decode("utf-8", "replace")
    if sum(not char.isascii() for char in read) > 2 * read.count("\ufffd"):
        return []  # it is UTF-8, with some bytes that are not
    readable = (each for each in ("cp1252", "latin-1") if _decodes(content, each))
    return [each for each in readable if not re.search("[\x80-\x9f]", content.decode(each, "replace"))][:1]


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        return len(content) == FAR and error.end > FAR - 4  # a character that the bound cuts
    return True
