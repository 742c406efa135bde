# SPDX-License-Identifier: Apache-2.0
"""Machine code of kernels: compiled by numba once, kept on disk, linked by LLVM alone.

A process that finds its kernels here never imports numba, whose dispatchers, typing and cache cost each
process some 80 MiB and half a second. It knows functions and the kinds of their arguments, not what they do;
`kernels` calls what it links.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

NUMBA = re.compile(r"0\.68\.\d+")
"""Versions whose compiled functions are known to call each other as `kernels` calls them; how is numba's own
affair. Before one is added, tests/patterns must pass with it."""
PROVEN = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and NUMBA.fullmatch(importlib.metadata.version("numba")) is not None
)
"""Whether that holds here; elsewhere numba makes the calls."""
FORMAT = 1
"""To be raised when what is kept, or how it is compiled, becomes another."""
PROJECT = __name__.partition(".")[0]
RUNTIME, HELPERS = "numba.core.runtime._nrt_python", "numba._helperlib"
Returned = str | list[Any]
_LINKING = threading.Lock()


class Stopwatch:
    """Seconds spent in the blocks that it was entered for, one at a time."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._spent_s = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._spent_s, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """All of them, and those of the block that still runs."""
        since = self._since
        return self._spent_s + (0.0 if since is None else time.monotonic() - since)


compiling = Stopwatch()
"""How long this process has waited for numba, under its lock."""


@dataclass(frozen=True, slots=True)
class MachineCode:
    """A function compiled for one kind of arguments."""

    symbol: str
    """Its name in the image."""
    returned: Returned
    """What it returns: ["array", dtype, dimensions], "int64", "none", or a list of those."""
    origin: str
    """Of what it was compiled, see `_origin`."""
    sha256: str
    """Of the image."""
    image: bytes
    """Relocatable object code for this processor."""


def find(function: Callable[..., Any], kinds: str) -> MachineCode | None:
    """What was kept for a function and these kinds of arguments, unless either has changed since."""
    for folder in _folders(function):
        with contextlib.suppress(OSError, ValueError, TypeError):  # none here, or none of ours
            head, _, image = (folder / _file_name(function, kinds)).read_bytes().partition(b"\n")
            code = MachineCode(**json.loads(head), image=image)
            if code.sha256 == hashlib.sha256(image).hexdigest() and code.origin == _origin(function):
                return code
    return None


def keep(function: Callable[..., Any], kinds: str, code: MachineCode) -> None:
    """Write it where `find` looks first and may be written; nowhere where no folder may.

    The file appears whole or not at all, so that any number of processes may keep the same code at once.
    """
    head = asdict(code)
    image = head.pop("image")
    for folder in _folders(function):
        unfinished = folder / f"{uuid.uuid4().hex}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(json.dumps(head).encode() + b"\n" + image)
            unfinished.replace(folder / _file_name(function, kinds))
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()
        else:
            return


def compile_for(function: Callable[..., Any], arguments: tuple[Any, ...]) -> MachineCode | None:
    """The function compiled by numba for arguments like these; None if what it returns cannot be told.

    Only the function itself is compiled, with numba's own settings but without its doors for Python and C.
    """
    compiler, numba = import_module("numba.core.compiler"), import_module("numba")
    target, lock = import_module("numba.core.registry").cpu_target, import_module("numba.core.compiler_lock")
    flags = compiler.Flags()
    flags.nrt = flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    kinds = tuple(numba.typeof(argument) for argument in arguments)
    with lock.global_compiler_lock, compiling:
        made = compiler.compile_extra(
            target.typing_context, target.target_context, function, kinds, None, flags, {}
        )
        returned = _told(made.signature.return_type)
        if returned is None:
            return None
        made.library.enable_object_caching()
        made.library.finalize()
    image = made.library.serialize_using_object_code()[2][0]
    return MachineCode(
        symbol=made.fndesc.mangled_name,
        returned=returned,
        origin=_origin(function),
        sha256=hashlib.sha256(image).hexdigest(),
        image=image,
    )


def link(code: MachineCode) -> int | None:
    """The address of the function in this process, for good; None if LLVM cannot link it."""
    binding = import_module("llvmlite.binding")
    library = binding.JITLibraryBuilder().add_object_img(code.image).add_current_process()
    try:
        with _LINKING:  # one linker for good: code lies in its memory
            for name, address in runtime().c_helpers.items():
                library.import_symbol(name if name.startswith("_") else f"NRT_{name}", address)
            if b"numba_" in code.image:
                for name, address in _part_of_numba(HELPERS).c_helpers.items():
                    library.import_symbol(f"numba_{name}", address)
            linked = library.export_symbol(code.symbol).link(_linker(), uuid.uuid4().hex)
    except (ImportError, RuntimeError):  # another numba, which keeps its memory otherwise
        return None
    address = int(linked[code.symbol])
    linked.detach()  # or it would be unloaded with the last reference
    return address


def runtime() -> ModuleType:
    """Numba's memory manager."""
    return _part_of_numba(RUNTIME)


@functools.cache
def _part_of_numba(path: str) -> ModuleType:
    """A compiled module of numba that needs nothing else of it; without importing numba, unless it is there.

    If numba comes later, it finds the same memory and the same functions under its own name.
    """
    if path in sys.modules:
        return sys.modules[path]
    numba = importlib.util.find_spec("numba")  # finds, does not import
    assert numba is not None, "numba is a requirement"
    package, _, name = path.rpartition(".")
    folder = Path(str(numba.origin)).parent.joinpath(*package.split(".")[1:])
    loaders = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    found = importlib.machinery.FileFinder(str(folder), loaders).find_spec(name)
    if found is None or found.loader is None:
        raise ImportError(f"numba {_version('numba')} has no module {path}.")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@functools.cache
def _linker() -> Any:
    binding = import_module("llvmlite.binding")
    binding.initialize_native_target()
    runtime().memsys_use_cpython_allocator()  # as numba does, before anything is allocated
    return binding.create_lljit_compiler(suppress_errors=True)


def _told(kind: Any) -> Returned | None:
    """A numba type in words; None for types that are not passed on."""
    types = import_module("numba").types
    if isinstance(kind, types.Array):
        return ["array", str(kind.dtype), kind.ndim]
    if isinstance(kind, types.BaseTuple) and not isinstance(kind, types.BaseNamedTuple):
        parts = [_told(part) for part in kind]
        return parts if parts and None not in parts else None
    return {types.int64: "int64", types.none: "none"}.get(types.unliteral(kind))


def _file_name(function: Callable[..., Any], kinds: str) -> str:
    """One name for each function, kind of arguments, and machine and versions that it was compiled with."""
    digest = hashlib.sha256(f"{_surroundings()} {kinds}".encode()).hexdigest()[:16]
    return f"{_source(function).stem}.{function.__qualname__}-{digest}.o"


@functools.cache
def _surroundings() -> str:
    """All that machine code depends on beside its sources."""
    binding = import_module("llvmlite.binding")
    settings = {k: v for k, v in os.environ.items() if k.startswith("NUMBA_") and k != "NUMBA_CACHE_DIR"}
    processor = (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    versions = [*map(_version, ("numba", "llvmlite", "numpy")), sys.implementation.cache_tag]
    return json.dumps([FORMAT, versions, processor, sorted(settings.items())])


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _folders(function: Callable[..., Any]) -> list[Path]:
    """Where code is kept, the best place first; those that numba's own cache would take."""
    home = _source(function).parent
    apart = f"{home.name}_{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"
    if "NUMBA_CACHE_DIR" in os.environ:
        return [Path(os.environ["NUMBA_CACHE_DIR"], apart)]
    of_user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [home / "__pycache__", Path(of_user, PROJECT, apart)]


def _source(function: Callable[..., Any]) -> Path:
    return Path(function.__code__.co_filename)


def _origin(function: Callable[..., Any]) -> str:
    """SHA-256 of all that a function is compiled of: its bytecode, what that names, and so on down.

    Of what lies in memory, not of files, which may have changed since they were read.
    """
    return hashlib.sha256("\n".join(_named(function, (), set())).encode()).hexdigest()


def _named(value: Any, names: tuple[str, ...], met: set[Any]) -> Iterator[str]:
    """A value in words; of a module of ours, only what it has of these names."""
    value = inspect.unwrap(value)
    if isinstance(value, FunctionType):
        yield f"{value.__module__}.{value.__qualname__}"
        if value not in met:
            met.add(value)
            yield repr(value.__defaults__)
            for cell in value.__closure__ or ():
                yield from _named(cell.cell_contents, (), met)
            yield from _of_code(value.__code__, value.__globals__, met)
    elif isinstance(value, ModuleType):
        yield value.__name__
        for name in names if value.__name__.partition(".")[0] == PROJECT else ():
            yield from _named(getattr(value, name, None), (), met)
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__} {getattr(value, '_fields', ())}"
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    else:
        yield repr(value)


def _of_code(code: CodeType, scope: dict[str, Any], met: set[Any]) -> Iterator[str]:
    yield repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, scope, met)
        else:
            yield repr(constant)
    for name in code.co_names:
        if name in scope:
            yield from _named(scope[name], code.co_names, met)
