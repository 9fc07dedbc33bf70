"""Values checked against a schema; what is wrong is one line with the key and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeVar
from typing import get_args
from typing import get_origin

from pydantic import BaseModel
from pydantic import ValidationError

from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean
from nichenas.core.errors import shortened
from nichenas.core.errors import unknown_name_message

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Any, prefix: Sequence[str] = ()) -> M:
    """Returns values as their schema has them.

    Args:
        prefix: of keys in messages, such as ``("search", "options")``.

    Raises:
        ConfigError: for the first thing that is wrong, with its key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        location = tuple(first["loc"])
        key = ".".join(shortened(str(part)) for part in (*prefix, *location))
        raise ConfigError(_message(first, model, location), key or "the configuration") from None


def _message(error: Any, model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        fields = {name for section in _sections(model, location[:-1]) for name in section.model_fields}
        return unknown_name_message("key", str(location[-1]), fields, quote=False)
    if kind == "missing":
        return "missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "literal_error" and isinstance(given, str):
        message = f"{message}{did_you_mean(given, map(str, _options(model, location)))}"
    return f"{shortened(message, 1000)} (got {shortened(repr(given))})"


def _sections(model: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """Returns the schemas that may stand at a location."""
    return [a for a in _annotations(model, location) if isinstance(a, type) and issubclass(a, BaseModel)]


def _options(model: type[BaseModel], location: tuple[int | str, ...]) -> list[Any]:
    """Returns the values that are allowed at a location, where they are listed."""
    found = [annotation for annotation in _annotations(model, location) if get_origin(annotation) is Literal]
    return [option for annotation in found for option in get_args(annotation)]


def _annotations(model: type[BaseModel], location: tuple[int | str, ...]) -> list[Any]:
    """Returns what may stand at a location, unions taken apart."""
    present: list[Any] = [model]
    for part in location:
        present = [inner for annotation in present for inner in _inside(annotation, part)]
    return present


def _inside(annotation: Any, part: int | str) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if part in annotation.model_fields:
            yield from _parts(annotation.model_fields[str(part)].annotation)
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return
    if issubclass(origin, Mapping):
        yield from _parts(arguments[-1])
    elif issubclass(origin, Sequence) and isinstance(part, int):
        yield from _parts(arguments[0])


def _parts(annotation: Any) -> Iterator[Any]:
    """Yields the members of a union, or the annotation itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin is None or (isinstance(origin, type) and issubclass(origin, (Mapping, Sequence))) or origin is Literal:
        yield annotation
    else:
        for member in get_args(annotation):
            yield from _parts(member)
