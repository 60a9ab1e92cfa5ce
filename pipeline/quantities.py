"""Bounds of the numbers in a record, without which they could not be reckoned with: anybody may have changed a report."""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Ratio = Annotated[float, Field(gt=0)]
Milliseconds = Annotated[float, Field(ge=1e-6)]  # a nanosecond is the clock's step
