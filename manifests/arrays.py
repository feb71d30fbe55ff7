"""numpy arrays and scalars, when numpy is there. It is never imported before a value needs it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cas.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["decode_array", "encode_array", "is_array"]


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

    The dtype is numpy's string form, or the field list of a structured one. Arrays of Python
    objects are ``InvalidInputError``: their bytes are addresses in this process.
    """
    import numpy as np

    dtype = value.dtype
    form: Any = dtype.str if dtype.names is None else dtype.descr
    if dtype.hasobject or np.dtype(_descr(form)) != dtype:
        raise InvalidInputError(f"arrays of dtype {dtype} cannot be stored")
    form = [list(field) for field in form] if dtype.names is not None else form
    if not isinstance(value, np.ndarray):
        return [form, None, False], value.tobytes()
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    flat = value.ravel(order="F" if fortran else "C")
    data = flat.view(np.uint8).data if flat.nbytes else b""
    return [form, list(value.shape), fortran], data


def decode_array(stored: Any) -> Any:
    """Return the array or scalar written as [dtype, shape, Fortran order, bytes]."""
    form, shape, fortran, data = stored
    try:
        import numpy as np
    except ImportError as error:
        raise InvalidInputError(
            "the state holds a numpy array: install numpy to restore it"
        ) from error
    dtype: np.dtype[Any] = np.dtype(_descr(form))
    if dtype.hasobject:
        raise InvalidInputError("a stored array claims to hold Python objects; it is not read")
    array: np.ndarray[Any, Any] = np.empty(shape or (), dtype, order="F" if fortran else "C")
    if len(data) != array.nbytes:
        raise InvalidInputError("a stored array has not as many bytes as its shape needs")
    if array.nbytes:
        # Into memory of its own, so that the array can be written to like the one that was saved.
        flat = np.frombuffer(data, dtype)
        array[...] = flat.reshape(array.shape, order="F" if fortran else "C")
    return array[()] if shape is None else array


def _descr(form: Any) -> Any:
    """Return a dtype description with the tuples that numpy wants and CBOR does not keep."""
    if isinstance(form, str):
        return form
    return [tuple(_field(part) for part in field) for field in form]


def _field(part: Any) -> Any:
    if isinstance(part, list):
        nested = bool(part) and isinstance(part[0], list | tuple)
        return _descr(part) if nested else tuple(part)
    return part
