# SPDX-License-Identifier: Apache-2.0
"""Compiled functions over flat arrays, called without numba wherever their machine code is at hand.

`kernel` marks what Python calls, `inner` what only compiled code calls. Numba compiles them when they are
first needed, never at import; the code that `machine_code` keeps is called as numba's compiled functions
call each other, an array as seven words and a tuple as its members.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from desirepath.patterns import machine_code
from desirepath.patterns.machine_code import MachineCode, Returned

P = ParamSpec("P")
R = TypeVar("R")
NOTHING, RETURNED, RAISED = -2, 0, 1
"""What a compiled function says when it ends."""


class Inner(Generic[P, R]):
    """A function for compiled code to call; to Python it is the plain function, to be read and traced."""

    def __init__(self, function: Callable[P, R], make: Callable[[Any], Any]) -> None:
        """Keep the function; `make` has numba compile it when compiled code first names it."""
        functools.update_wrapper(self, function)
        self.function: Any = function
        self._make = make

    def __call__(self, *arguments: P.args, **none: P.kwargs) -> R:
        """What the function returns, at the speed of Python."""
        result: R = self.function(*arguments, **none)
        return result

    @functools.cached_property
    def _made(self) -> Any:
        return self._make(self.function)

    @property
    def _numba_type_(self) -> Any:
        """What numba takes this for, wherever a function that it compiles names it."""
        made = self._made
        typing = import_module("numba.core.registry").cpu_target.typing_context
        typing.refresh()  # an intrinsic makes itself known only now
        return typing.resolve_value_type(made)


class Kernel(Inner[P, R]):
    """A function that Python calls with arrays, numbers and tuples of them, by position.

    It runs compiled, without the interpreter's lock, and writes into the arrays that it is given.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        """Keep the function until it is called."""
        super().__init__(function, _njit)
        self._forms: dict[str, _Form | None] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: P.args, **none: P.kwargs) -> R:
        """What the function returns; the first call with arguments of such kinds may compile for seconds."""
        if none:
            name, given = self.function.__name__, ", ".join(none)
            raise TypeError(f"{name} takes its arguments by position; got {given} by name.")
        form = self._form(arguments)
        result: R = self._by_numba(arguments) if form is None else form(arguments)
        return result

    def _by_numba(self, arguments: tuple[Any, ...]) -> Any:
        """The call made by numba, on machines and with arguments of which we know too little."""
        kinds = tuple(import_module("numba").typeof(argument) for argument in arguments)
        if kinds not in getattr(self._dispatcher, "overloads", (kinds,)):
            with import_module("numba.core.compiler_lock").global_compiler_lock, machine_code.compiling:
                self._dispatcher.compile(kinds)
        return self._dispatcher(*arguments)

    @functools.cached_property
    def _dispatcher(self) -> Any:
        return import_module("numba").njit(nogil=True, cache=True)(self.function)

    def _form(self, arguments: tuple[Any, ...]) -> _Form | None:
        """How arguments of these kinds are passed; None where numba must."""
        kinds = _kind(arguments)
        if kinds is None:
            return None
        if kinds not in self._forms:
            with self._lock:
                if kinds not in self._forms:
                    self._forms[kinds] = self._loaded(kinds, arguments)
        return self._forms[kinds]

    def _loaded(self, kinds: str, arguments: tuple[Any, ...]) -> _Form | None:
        if not machine_code.PROVEN or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
            return None
        code = machine_code.find(self.function, kinds)
        address = None if code is None else machine_code.link(code)
        if code is None or address is None:
            code = machine_code.compile_for(self.function, arguments)
            address = None if code is None else machine_code.link(code)
            if code is None or address is None:
                return None
            machine_code.keep(self.function, kinds, code)
        return _Form(code, address, arguments)


class _Form:
    """A kernel for one kind of arguments, where it lies in memory."""

    def __init__(self, code: MachineCode, address: int, arguments: tuple[Any, ...]) -> None:
        types = [_ctype(word) for word in _words(arguments)]
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)(address)
        self._returned = code.returned
        self._room = ctypes.c_int64 * _n_words(code.returned)

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        room, raised = self._room(), ctypes.c_void_p()
        ended = self._call(ctypes.addressof(room), ctypes.addressof(raised), *_words(arguments))
        if ended == RAISED:
            raise _error(raised.value or 0)
        if ended not in (RETURNED, NOTHING):
            raise SystemError(f"A compiled function ended with {ended}.")
        return _value(self._returned, iter(room))


def kernel(function: Callable[P, R]) -> Kernel[P, R]:
    """Compiled for Python to call."""
    return Kernel(function)


def inner(function: Callable[P, R]) -> Inner[P, R]:
    """Compiled for kernels to call; without a door for Python it takes a quarter less time."""
    return Inner(function, _njit)


def instruction(function: Callable[..., Any]) -> Any:
    """Spelled in LLVM for kernels to use, see `numba.extending.intrinsic`."""
    return Inner(function, _intrinsic)


def _njit(function: Any) -> Any:
    # Not cached: numba's cache looks at one source file and would keep what a changed one made of it.
    njit = import_module("numba").njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return njit(function)


def _intrinsic(function: Any) -> Any:
    return import_module("numba.extending").intrinsic(function)


def _kind(value: Any) -> str | None:
    """What a value is to a compiled function; None if it cannot be passed."""
    if type(value) is np.ndarray:
        plain = value.flags.carray and value.dtype.isnative and value.dtype.kind in "biuf"
        return f"{value.dtype.str}[{value.ndim}]" if plain else None
    if isinstance(value, tuple):
        kinds = [_kind(part) for part in value]
        name = "" if type(value) is tuple else f"{type(value).__module__}.{type(value).__qualname__}"
        return None if None in kinds else f"{name}({', '.join(map(str, kinds))})"
    if type(value) is bool:
        return "bool"
    if type(value) in (int, np.int64):
        return "int" if -(2**63) <= value < 2**63 else None
    return "float" if type(value) in (float, np.float64) else None


def _words(value: Any) -> Iterator[Any]:
    """A value as the words that numba passes."""
    if isinstance(value, tuple):
        yield from itertools.chain.from_iterable(map(_words, value))
    elif isinstance(value, np.ndarray):
        # Who counts references to it, and its Python object: nobody and none.
        yield from (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
    else:
        yield value


def _ctype(word: Any) -> Any:
    if type(word) is bool:
        return ctypes.c_uint8
    return ctypes.c_double if isinstance(word, float) else ctypes.c_int64


def _n_words(returned: Returned) -> int:
    """Words of room for what is returned."""
    if isinstance(returned, str):
        return 1
    if returned[0] == "array":
        return 5 + 2 * int(returned[2])
    return sum(_n_words(part) for part in returned)


def _value(returned: Returned, words: Iterator[int]) -> Any:
    """What was returned; arrays stay where they are, and are freed by numba's count of references."""
    if isinstance(returned, str):
        word = next(words)
        return word if returned == "int64" else None
    if returned[0] != "array":
        return tuple(_value(part, words) for part in returned)
    dtype, n_dims = str(returned[1]), int(returned[2])
    counted, _, size, item_size, data = itertools.islice(words, 5)
    shape, strides = tuple(itertools.islice(words, n_dims)), tuple(itertools.islice(words, n_dims))
    if counted:
        owner = machine_code.runtime()._MemInfo(counted)
        return np.ndarray(shape, dtype, owner, data - owner.data, strides)
    # An array that was handed in, or a part of it: its owner is not known here.
    held: Any = (ctypes.c_char * (size * item_size)).from_address(data)
    return np.ndarray(shape, dtype, held, 0, strides).copy()


class _Raised(ctypes.Structure):
    """Where numba leaves an exception: pickled class, arguments and place."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_int32))


def _error(address: int) -> BaseException:
    told = _Raised.from_address(address)
    kind, arguments, _ = pickle.loads(ctypes.string_at(told.data, told.size))
    error: BaseException = kind(*(arguments or ()))
    return error
