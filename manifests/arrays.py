"""numpy arrays and scalars, when numpy is there. It is never imported before a value needs it."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from cas.errors import CorruptObjectError, InvalidInputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["decode_array", "encode_array", "is_array"]

_TYPE_NAME: Final = re.compile(r"[<>|][biufcmMSUV][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,2}\])?")


def is_array(value: Any) -> bool:
    """Whether a value is exactly a numpy array or a numpy scalar."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    return type(value) is numpy.ndarray or (
        isinstance(value, numpy.generic) and type(value) is value.dtype.type
    )


def encode_array(value: Any) -> tuple[list[Any], memoryview | bytes]:
    """Return ([dtype, shape or None for a scalar, Fortran order], the elements' bytes).

    The dtype is numpy's string form, or the field list of a structured one. ``InvalidInputError``
    for arrays of Python objects, whose bytes are addresses in this process, and for dtypes that
    their form does not express (records, metadata, padding between fields).
    """
    import numpy as np

    text = isinstance(value, np.str_ | np.bytes_)
    if text:
        # As an array has it: an empty text would have no bytes, and no array of none can be read.
        array = np.asarray(value)
        if array[()] != value:
            raise InvalidInputError("numpy drops the zeros behind this text; store it as str")
        value = array
    dtype = value.dtype
    form: Any = dtype.str if dtype.names is None else dtype.descr
    if dtype.metadata or (dtype.kind == "V" and dtype.type is not np.void) or _dtype(form) != dtype:
        raise InvalidInputError(f"arrays of dtype {dtype} cannot be stored")
    form = [list(field) for field in form] if dtype.names is not None else form
    if text or not isinstance(value, np.ndarray):
        return [form, None, False], value.tobytes()
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    flat = value.ravel(order="F" if fortran else "C")
    data = flat.view(np.uint8).data if flat.nbytes else b""
    return [form, list(value.shape), fortran], data


def decode_array(stored: Any) -> Any:
    """Return the array or scalar written as [dtype, shape, Fortran order, bytes].

    ``CorruptObjectError`` if these do not fit each other; nothing is allocated then.
    """
    form, shape, fortran, data = stored
    try:
        import numpy as np
    except ImportError as error:
        raise InvalidInputError(
            "the state holds a numpy array: install numpy to restore it"
        ) from error
    dtype = _dtype(form)
    if dtype is None:
        raise CorruptObjectError("a stored array has a dtype that is none, or of Python objects")
    sizes = shape or ()
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise CorruptObjectError("a stored array has no proper shape")
    if type(data) is not bytes or len(data) != dtype.itemsize * math.prod(sizes):
        raise CorruptObjectError("a stored array has not as many bytes as its shape needs")
    if dtype.kind == "U" and data:
        characters = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if int(characters.max()) > sys.maxunicode:
            raise CorruptObjectError("a stored array has a character that does not exist")
    array: np.ndarray[Any, Any] = np.empty(sizes, dtype, order="F" if fortran else "C")
    if array.nbytes:
        # Into memory of its own, so that the array can be written to like the one that was saved.
        flat = np.frombuffer(data, dtype)
        array[...] = flat.reshape(array.shape, order="F" if fortran else "C")
    return array[()] if shape is None else array


def _dtype(form: Any) -> np.dtype[Any] | None:
    """Return the dtype of a form, or None if there is none without Python objects."""
    import numpy as np

    try:
        dtype: np.dtype[Any] = np.dtype(_description(form))
    except (ValueError, TypeError, OverflowError):
        return None
    return None if dtype.hasobject else dtype


def _description(form: Any) -> Any:
    """Return a dtype's form with the tuples that numpy wants and CBOR does not keep.

    Names of types are looked at first: numpy evaluates whatever else stands in their place.
    """
    if isinstance(form, str):
        if not _TYPE_NAME.fullmatch(form):
            raise ValueError("no name of a type")
        return form
    return [_field(*field) for field in form]


def _field(name: Any, form: Any, *shape: Any) -> Any:
    # The name may be a pair of a title and a name.
    name = tuple(name) if isinstance(name, list) else name
    return (name, _description(form), *map(tuple, shape))
