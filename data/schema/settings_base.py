"""The base of settings whose fields are described by the docstrings below them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SettingsBase(BaseModel):
    """A recipe's table: unknown keys are refused, and each field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Put the descriptions, which break at the end of a line, on one line each."""
        for field in cls.model_fields.values():
            field.description = " ".join((field.description or "").split())
