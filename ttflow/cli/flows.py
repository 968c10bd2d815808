"""Find a user's flow: `module:function`, from the working directory or wherever Python finds modules."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttflow.errors import FlowError

if TYPE_CHECKING:
    from ttflow.desk import FlowFunction


def load_flow(named: str | None) -> FlowFunction | None:
    """Import `module:function`; None for None. Raises FlowError, one line, that says what is missing."""
    if named is None:
        return None
    module, _, function = named.partition(":")
    return _function(_module(module, named), function, named)


def _module(name: str, named: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            text = f"there is no module {error.name} here ({here}) or installed"
            raise FlowError(f"--flow {named}: {text}.") from error
        raise FlowError(f"--flow {named}: {name} imports {error.name}, which is not installed.") from error
    except Exception as error:
        place = _line(error, name)
        told = " ".join(str(error).split())
        raise FlowError(
            f"--flow {named}: {name} fails{place} with {type(error).__name__}: {told}."
        ) from error


def _line(error: Exception, name: str) -> str:
    """Where in the user's own module an import failed."""
    trace = error.__traceback__
    line = None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    line = error.lineno if isinstance(error, SyntaxError) else line
    return f" in line {line}" if line else ""


def _function(module: Any, name: str, named: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if found is None:
        functions = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        near = difflib.get_close_matches(name, functions, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise FlowError(f"--flow {named}: {module.__name__} has no function {name}{hint}")
    if not callable(found):
        raise FlowError(f"--flow {named}: {name} is no function but a {type(found).__name__}.")
    called: Callable[..., Any] = found
    return called
