"""The gate through which results of a domain enter: complete, finite, plain, or a failure that says what is wrong.

It stands in the worker, where the domain is called, so that nothing unusable travels or reaches journal and strategy.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from nichenas.core.errors import CandidateFailure
from nichenas.core.objectives import Objective
from nichenas.core.trial import Measurement
from nichenas.core.trial import Retrained

INVALID = "invalid result"  # the reason of these failures, beside "diverged" for objectives that are not finite


def checked_measurement(result: object, objectives: Sequence[Objective]) -> Measurement:
    """Returns a measurement in plain numbers.

    Args:
        objectives: that it must have, finite; further values may be infinite or not a number.

    Raises:
        CandidateFailure: saying what is wrong.
    """
    if not isinstance(result, Measurement):
        raise CandidateFailure(INVALID, f"{type(result).__name__} where a Measurement is expected")
    values = _figures(result.values, "values")
    for objective in objectives:
        _check_objective(objective, values, "values")
    _check_weights(result.weights)
    if values is result.values and _is_plain(result):
        return result
    return dataclasses.replace(
        result,
        values=values,
        curve=_curve(result.curve),
        peak_memory=_whole(result.peak_memory, "peak_memory"),
        diagnostics=_records(result.diagnostics),
        scalars=_figures(result.scalars, "scalars"),
        epochs=None if result.epochs is None else _whole(result.epochs, "epochs"),
        simulated_seconds=None
        if result.simulated_seconds is None
        else _number(result.simulated_seconds, "simulated_seconds"),
    )


def _is_plain(result: Measurement) -> bool:
    """Returns whether there is nothing to convert beside the values; look-ups in tables are many."""
    parts = (result.curve, result.diagnostics, result.scalars)
    if any(type(part) not in (tuple, dict) or part for part in parts) or result.epochs is not None:
        return False
    seconds = result.simulated_seconds
    return type(result.peak_memory) is int and (seconds is None or type(seconds) is float)


def checked_retrained(result: object, objective: Objective, criterion: Objective | None = None) -> Retrained:
    """Returns a full training's figures in plain numbers.

    Args:
        objective: the primary one, which both parts must have, finite.
        criterion: that validation figures must have too, finite.

    Raises:
        CandidateFailure: saying what is wrong.
    """
    if not isinstance(result, Retrained):
        raise CandidateFailure(INVALID, f"{type(result).__name__} where a Retrained is expected")
    validation, test = _figures(result.validation, "validation"), _figures(result.test, "test")
    _check_objective(objective, validation, "validation")
    _check_objective(objective, test, "test")
    if criterion is not None:
        _check_objective(criterion, validation, "validation")
    _check_weights(result.weights)
    return dataclasses.replace(result, validation=validation, test=test)


def _check_objective(objective: Objective, values: Mapping[str, float], part: str) -> None:
    if objective.name not in values:
        has = ", ".join(values) or "none"
        raise CandidateFailure(INVALID, f"{part} lack the objective '{objective.name}'; they have: {has}")
    if not math.isfinite(values[objective.name]):
        raise CandidateFailure("diverged", f"{objective.name} is {values[objective.name]}")


def _check_weights(weights: object) -> None:
    if not isinstance(weights, Mapping):
        raise CandidateFailure(INVALID, f"weights are a {type(weights).__name__}, not a mapping of names to tensors")
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise CandidateFailure(INVALID, f"weights['{name}'] is a {type(tensor).__name__}, not a tensor")


def _figures(values: object, part: str) -> dict[str, float]:
    if type(values) is dict and all(type(value) is float for value in values.values()):
        return values
    if not isinstance(values, Mapping):
        raise CandidateFailure(INVALID, f"{part} are a {type(values).__name__}, not a mapping of names to numbers")
    return {str(name): _number(value, f"{part}['{name}']") for name, value in values.items()}


def _number(value: object, what: str) -> float:
    if type(value) is float:
        return value
    single = (isinstance(value, Tensor) and value.numel() == 1) or (isinstance(value, np.ndarray) and value.size == 1)
    if single or isinstance(value, (numbers.Real, np.generic)):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, RuntimeError):  # complex, too large, on a device that is gone
            pass
    raise CandidateFailure(INVALID, f"{what} is {_named(value)}, not a number")


def _curve(points: Any) -> tuple[tuple[int, float], ...]:
    try:
        return tuple(
            (_whole(at, "an epoch of the curve"), _number(value, "a value of the curve")) for at, value in points
        )
    except (TypeError, ValueError):
        raise CandidateFailure(INVALID, "the curve is not a sequence of (epoch, value)") from None


def _whole(value: object, what: str) -> int:
    number = _number(value, what)
    if not number.is_integer():  # infinite or not a number, too
        raise CandidateFailure(INVALID, f"{what} is {_named(value)}, not a whole number")
    return int(number)


def _records(diagnostics: object) -> dict[str, Any]:
    if not isinstance(diagnostics, Mapping):
        raise CandidateFailure(INVALID, f"diagnostics are {_named(diagnostics)}, not a mapping")
    try:
        found: dict[str, Any] = plain(diagnostics, "diagnostics")
    except RecursionError:
        raise CandidateFailure(INVALID, "diagnostics are nested without an end") from None
    return found


def plain(value: Any, what: str) -> Any:
    """Returns a value as JSON knows it.

    Args:
        what: it is, as it reads in the message.

    Raises:
        CandidateFailure: when it has no such form.
    """
    if value is None or isinstance(value, (str, bool)) or type(value) in (int, float):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int)):
                raise CandidateFailure(INVALID, f"{what} have the key {_named(key)}, which JSON does not know")
        return {str(key): plain(part, f"{what}['{key}']") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part, f"{what}[{index}]") for index, part in enumerate(value)]
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return plain(value.tolist(), what)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise CandidateFailure(INVALID, f"{what} is {_named(value)}, which JSON does not know")


def _named(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else f"a {type(value).__name__}"
