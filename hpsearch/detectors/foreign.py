"""What detectors of other libraries share: axes from a constructor, silence, and seeds."""

import inspect
import io
import logging
import random
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from difflib import get_close_matches
from enum import Enum
from types import NoneType
from typing import Any, get_args

import numpy as np
import torch

from hpsearch.config.space import Params
from hpsearch.config.spec import AxisChoices, AxisValue
from hpsearch.errors import SpecError

_PLAIN = (bool, int, float, str)


def constructor_axes(kind: type, *, without: Collection[str]) -> Mapping[str, AxisChoices]:
    """The parameters of a constructor as axes, with their defaults as the only choices.

    True or false, numbers and names are axes as they are; a sequence of them is a text such as
    `layer2+layer3`; a number whose default is None has the choice 0. Others keep their defaults.

    Args:
        kind: the class.
        without: names of parameters that are no axes.
    """
    axes = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        choice = _choice(parameter)
        if name not in without and choice is not None:
            axes[name] = (choice,)
    return axes


def constructor_arguments(kind: type, params: Params) -> dict[str, Any]:
    """The arguments of a constructor that a configuration stands for.

    Raises:
        ValueError: a text that is none of the names or numbers that the constructor takes.
    """
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in params:
            continue
        value, default = params[name], parameter.default
        if isinstance(default, Enum):
            arguments[name] = type(default)(value)
        elif isinstance(default, tuple | list):
            part = type(default[0])
            arguments[name] = type(default)(part(text) for text in str(value).split("+"))
        else:
            arguments[name] = None if default is None and not value else value
    return arguments


def _choice(parameter: inspect.Parameter) -> AxisValue | None:
    """The default of a parameter as a choice of an axis, None where it cannot be one."""
    default: Any = parameter.default
    if isinstance(default, Enum):
        default = default.value
    if default is None:
        kinds = set(get_args(parameter.annotation)) - {NoneType}
        return next((kind() for kind in (int, float) if kinds == {kind}), None)
    if isinstance(default, tuple | list) and default:
        parts = {type(part) for part in default}
        return "+".join(map(str, default)) if parts in ({int}, {float}, {str}) else None
    return default if type(default) in _PLAIN else None


def unknown_model(name: str, known: Collection[str]) -> SpecError:
    """What is raised for a name that a library does not have."""
    family, _, model = name.partition(":")
    lower = {one.lower(): one for one in known}
    near = [lower[one] for one in get_close_matches(model.lower(), lower, n=3, cutoff=0.5)]
    choose = ", ".join(f"{family}:{one}" for one in near or sorted(known))
    return SpecError(f"detector {name!r:.60}: {family} has none of that name; choose {choose}")


@contextmanager
def quiet() -> Iterator[None]:
    """Whatever a library prints, logs or warns of below an error is not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The generators of torch, numpy and Python start from a seed, and go on as before after it."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)
