"""Base class of the documents of the admin API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    # Built when the description is asked for: no process starts slower because of it.
    model_config = ConfigDict(use_attribute_docstrings=True, defer_build=True)
