"""Versions of records.

A change that names the version which it was made from fails if the record has changed since.
"""

from __future__ import annotations

import hashlib

ABSENT = "none"
"""Version of a record that does not exist."""
_LENGTH = 16


def version_of(record: bytes | None) -> str:
    """Return the version of a record, its digest; None: there is none."""
    return ABSENT if record is None else hashlib.sha256(record).hexdigest()[:_LENGTH]
