"""Secrets: `{env: NAME}`, `{file: PATH}`, or a file made at first start; never shown again.

A `Secret` prints as `***` wherever it lands. Its value is read when the configuration is loaded,
so a missing one is an error of the file, not of the first request.
"""

from __future__ import annotations
