"""What every table of the settings is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """What every table of settings is: frozen, without unknown keys, silent about refused values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
