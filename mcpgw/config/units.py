"""Durations and sizes as people write them: ``30s``, ``1m30s``, ``16MiB``."""

import re
from typing import Final

from mcpgw.units import Bytes, Seconds

SECONDS_PER: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""The units of a duration, largest first, which is also the order they are written in."""

BYTES_PER: Final = {
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "GB": 10**9,
    "MB": 10**6,
    "KB": 10**3,
    "B": 1,
}
"""The units of a size."""

DURATION_PATTERN: Final = r"^\d+(\.\d+)?((ms|[dhms])(\d+(\.\d+)?(ms|[dhms]))*)?$"
SIZE_PATTERN: Final = r"^\d+(\.\d+)? ?(([KMGkmg][Ii]?)?[Bb])?$"

_DURATION: Final = re.compile(DURATION_PATTERN, re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms]?)", re.ASCII)
_SIZE: Final = re.compile(r"^(\d+(?:\.\d+)?) ?([a-z]*)$", re.ASCII | re.IGNORECASE)
_SIZE_UNITS: Final = {unit.lower(): factor for unit, factor in BYTES_PER.items()}

_LONGEST: Final = 100 * 365 * SECONDS_PER["d"]
"""A hundred years: beyond it a number is a mistake, and event loops overflow."""

_LARGEST: Final = 2**50


def parse_duration(value: object) -> Seconds:
    """Give the seconds that `value` stands for: a number of them, or text such as ``1m30s``.

    Raises:
        ValueError: It is not a duration.
    """
    if isinstance(value, str) and _DURATION.match(text := value.strip()):
        value = _sum_of_parts(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('expected a duration such as "30s"')
    if not 0 <= value <= _LONGEST:  # false for NaN as well
        raise ValueError('expected a duration such as "30s", not negative and not endless')
    return Seconds(float(value))


def positive(seconds: Seconds) -> Seconds:
    """Give `seconds` back; for deadlines and clocks, which nothing can meet at zero.

    Raises:
        ValueError: It is zero.
    """
    if not seconds:
        raise ValueError('expected a duration longer than zero, such as "30s"')
    return seconds


def parse_size(value: object) -> Bytes:
    """Give the bytes that `value` stands for: a number of them, or text such as ``4MiB``.

    Raises:
        ValueError: It is not a size, or not a whole number of bytes.
    """
    if isinstance(value, str) and (match := _SIZE.match(value.strip())):
        number, unit = match.groups()
        if (factor := _SIZE_UNITS.get(unit.lower() or "b")) is not None:
            exact = float(number) * factor
            value = int(exact) if exact.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError('expected a size such as "4MiB"')
    if not 1 <= value <= _LARGEST:
        raise ValueError('expected a size such as "4MiB", at least one byte and at most 1024 TiB')
    return Bytes(value)


def format_duration(seconds: Seconds) -> str:
    """Write a duration the way people do; `parse_duration` reads it back."""
    milliseconds = round(seconds * 1000, 6)
    for unit, factor in SECONDS_PER.items():
        count = milliseconds / (factor * 1000)
        if count >= 1 and count.is_integer():
            return f"{int(count)}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def format_size(size: Bytes) -> str:
    """Write a size the way people do; `parse_size` reads it back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % BYTES_PER[unit] == 0:
            return f"{size // BYTES_PER[unit]}{unit}"
    return f"{size}B"


def _sum_of_parts(text: str) -> float | None:
    parts = _DURATION_PART.findall(text)
    units = [unit or "s" for _, unit in parts]
    order = list(SECONDS_PER)
    if [order.index(unit) for unit in units] != sorted({order.index(unit) for unit in units}):
        return None  # a unit twice, or smaller before larger
    return sum(
        float(number) * SECONDS_PER[unit] for (number, _), unit in zip(parts, units, strict=True)
    )
