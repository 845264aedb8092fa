"""Certificates: what was found of a person and removed, place by place, without saying who it was; signed.

Belongs here: what a certificate is, signing and verifying one. Elsewhere: what it tells of (engine/erasure.py).
Signed with Ed25519 by a key that is made of the deployment's: who has the public one can verify, and not sign.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.erase.tombstones import Key
from platform_assets.errors import ConfigurationError

_PURPOSE: Final = "signing certificates of erasures"
_NOT_REACHED: Final = (
    "Copies outside PLATFORM_HOME: exported files, backups, what readers have copied, the producer's own files."
)


@dataclass(frozen=True)
class Delivery:
    """A delivery in which rows of the person were. fingerprint: of what was delivered; before, after: SHA-256 of its
    copy in the archive; after is None where the copy was removed, or the delivery had none."""

    delivery: int
    rows: int
    fingerprint: str | None
    before: str | None
    after: str | None = None


@dataclass(frozen=True)
class Account:
    """What was found and removed of a person; rows by place, names of tables, ids of deliveries and releases.

    raw, quarantine: rows there when the erasure began. unclaimed: copies that no delivery needed. unsearched:
    deliveries that are quarantined as a whole and cannot be read. models: dropped, to be made anew by the next build.
    landing: files with such rows that still lie in the landing folder. left: where the person was still found
    afterwards; nothing is left where it is empty.
    """

    erasure: str
    feed: str
    columns: Sequence[str]
    asked_at: str
    asked_by: str
    finished_at: str | None = None
    deliveries: Sequence[Delivery] = ()
    raw: int = 0
    quarantine: int = 0
    unclaimed: int = 0
    unsearched: Sequence[int] = ()
    snapshots: Mapping[str, int] = field(default_factory=dict)
    models: Sequence[str] = ()
    releases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    releases_removed: Sequence[str] = ()
    written_anew: Sequence[str] = ()
    landing: int = 0
    left: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def stored(cls, read: Mapping[str, Any]) -> "Account":
        """The account that JSON holds."""
        return cls(**{**read, "deliveries": [Delivery(**each) for each in read["deliveries"]]})


@dataclass(frozen=True)
class Verified:
    """What is known of a certificate. ours: whether the key that signed it is the one it was compared with; None where
    there was none to compare with."""

    erasure: str
    signed: bool
    ours: bool | None
    public_key: str


def signed(account: Account, key: Key) -> dict[str, Any]:
    """The account as a certificate."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(key.derived(_PURPOSE))
    told = {**asdict(account), "not_reached": _NOT_REACHED, "algorithm": "Ed25519", "public_key": public_key(key)}
    return {**told, "signature": private.sign(_bytes(told)).hex()}


def public_key(key: Key) -> str:
    """What others verify this deployment's certificates with, in hexadecimal digits."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.derived(_PURPOSE)).public_key().public_bytes_raw().hex()


def verified(path: Path, expected: str | None) -> Verified:
    """Whether the certificate at `path` is as it was signed, and by the key `expected`.

    Raises ConfigurationError where there is no certificate.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        told = json.loads(path.read_bytes())
        signature, public = bytes.fromhex(told.pop("signature")), str(told["public_key"])
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, _bytes(told))
        sound = True
    except InvalidSignature:
        sound = False
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}", f"is no certificate: {type(error).__name__}", "Name a file of erasures/certificates."
        ) from error
    return Verified(str(told.get("erasure")), sound, None if expected is None else expected == public, public)


def _bytes(told: Mapping[str, Any]) -> bytes:
    """What is signed: JSON with sorted keys and no blanks, in UTF-8."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
