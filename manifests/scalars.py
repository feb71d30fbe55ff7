"""Scalars beyond CBOR's own: how each is written as tag SCALAR on [code, content...].

Contents are plain integers, texts and byte strings, so nothing here depends on how a library
formats a date or a decimal from one release to the next.
"""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from cas.errors import CorruptObjectError, InvalidInputError

__all__ = ["SCALAR_TYPES", "TEXT", "decode_scalar", "encode_scalar"]

TEXT: Final = 0
"""Code of a long text: its content is the tree of its UTF-8 bytes (written by the encoder)."""
_COMPLEX: Final = 1
_DECIMAL: Final = 2
_UUID: Final = 3
_DATETIME: Final = 4
_DATE: Final = 5
_TIME: Final = 6
_TIMEDELTA: Final = 7
_PATH: Final = 8
_TIMEZONE: Final = 9
_ZONEINFO: Final = 10

Content = list[Any]

# The thread's own context would let "abc" pass for a NaN where it does not trap.
_EXACT: Final = decimal.Context(traps=[decimal.InvalidOperation])


def _zone(zone: dt.tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        return _timezone(zone)
    if type(zone) is zoneinfo.ZoneInfo:
        return _zoneinfo(zone)[0]
    raise InvalidInputError(
        f"time zones are datetime.timezone or zoneinfo.ZoneInfo, not {type(zone).__qualname__}"
    )


def _timezone(zone: dt.timezone) -> Content:
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # as pickle calls it
    return [offset // dt.timedelta(microseconds=1), *name]


def _zoneinfo(zone: zoneinfo.ZoneInfo) -> Content:
    if zone.key is None:
        raise InvalidInputError("a ZoneInfo made from a file has no key by which to find it again")
    return [zone.key]


def _read_timezone(content: Content) -> dt.timezone:
    return dt.timezone(dt.timedelta(microseconds=content[0]), *content[1:])


def _read_zoneinfo(content: Content) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(content[0])
    except (zoneinfo.ZoneInfoNotFoundError, OSError) as error:
        raise InvalidInputError(
            f"the time zone {content[0]!r} is not known on this machine: install tzdata"
        ) from error


def _read_zone(stored: Any) -> dt.tzinfo | None:
    if stored is None:
        return None
    return _read_zoneinfo([stored]) if isinstance(stored, str) else _read_timezone(stored)


def _clock_fields(value: dt.datetime | dt.time) -> Content:
    clock = [value.hour, value.minute, value.second, value.microsecond]
    return [*clock, value.fold, _zone(value.tzinfo)]


def _datetime(value: dt.datetime) -> Content:
    return [value.year, value.month, value.day, *_clock_fields(value)]


def _read_datetime(content: Content) -> dt.datetime:
    year, month, day, *clock, fold, zone = content
    return dt.datetime.combine(dt.date(year, month, day), _read_time([*clock, fold, zone]))


def _read_time(content: Content) -> dt.time:
    hour, minute, second, microsecond, fold, zone = content
    return dt.time(hour, minute, second, microsecond, _read_zone(zone), fold=fold)


_FLAVOURS: Final[tuple[type[pathlib.PurePath], ...]] = (
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    pathlib.WindowsPath,
    pathlib.PureWindowsPath,
)


def _decimal(value: decimal.Decimal) -> Content:
    # The context of the thread decides between "e" and "E", and must not decide the address.
    return [str(value).replace("e", "E")]


def _read_decimal(content: Content) -> decimal.Decimal:
    (text,) = content
    if type(text) is not str:
        raise CorruptObjectError("a stored decimal is no text")
    return decimal.Decimal(text, _EXACT)


def _read_uuid(content: Content) -> uuid.UUID:
    (data,) = content
    if type(data) is not bytes:
        raise CorruptObjectError("a stored UUID is no byte string")
    return uuid.UUID(bytes=data)


def _path(value: pathlib.PurePath) -> Content:
    return [_FLAVOURS.index(type(value)), str(value)]


def _read_path(content: Content) -> pathlib.PurePath:
    flavour, text = content
    wanted = _FLAVOURS[flavour]
    if issubclass(wanted, pathlib.Path) and wanted is not type(pathlib.Path()):
        # A concrete path of the other kind of system can only exist here in its pure form.
        wanted = _FLAVOURS[flavour + 1]
    return wanted(text)


# The class must match exactly: a subclass (a pandas Timestamp, say) would lose what it adds.
SCALAR_TYPES: Final[dict[type, tuple[int, Callable[[Any], Content]]]] = {
    complex: (_COMPLEX, lambda value: [value.real, value.imag]),
    decimal.Decimal: (_DECIMAL, _decimal),
    uuid.UUID: (_UUID, lambda value: [value.bytes]),
    dt.datetime: (_DATETIME, _datetime),
    dt.date: (_DATE, lambda value: [value.year, value.month, value.day]),
    dt.time: (_TIME, _clock_fields),
    dt.timedelta: (_TIMEDELTA, lambda value: [value.days, value.seconds, value.microseconds]),
    dt.timezone: (_TIMEZONE, _timezone),
    zoneinfo.ZoneInfo: (_ZONEINFO, _zoneinfo),
    **dict.fromkeys(_FLAVOURS, (_PATH, _path)),
}

_READERS: Final[dict[int, Callable[[Content], Any]]] = {
    _COMPLEX: lambda content: complex(*content),
    _DECIMAL: _read_decimal,
    _UUID: _read_uuid,
    _DATETIME: _read_datetime,
    _DATE: lambda content: dt.date(*content),
    _TIME: _read_time,
    _TIMEDELTA: lambda content: dt.timedelta(content[0], content[1], content[2]),
    _PATH: _read_path,
    _TIMEZONE: _read_timezone,
    _ZONEINFO: _read_zoneinfo,
}


def encode_scalar(value: Any) -> Content:
    """Return [code, content...] of a value whose exact class is in ``SCALAR_TYPES``."""
    code, fields = SCALAR_TYPES[type(value)]
    return [code, *fields(value)]


def decode_scalar(stored: Any) -> Any:
    """Return the value written as [code, content...]; the inverse of ``encode_scalar``."""
    code, *content = stored
    if code == TEXT:
        return content[0].decode()
    reader = _READERS.get(code)
    if reader is None:
        raise CorruptObjectError(f"scalar code {code} is not known here; upgrade Hive")
    return reader(content)
