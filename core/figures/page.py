"""Pages from templates: escaped, self-contained, nothing is loaded from a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2 import PackageLoader
from jinja2 import StrictUndefined
from markupsafe import Markup

from nichenas.core.errors import RunFolderError
from nichenas.core.files import write_text


def number(value: Any) -> str:
    """Returns a figure as it reads in a table: four decimals, whole numbers with separators, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4f}"
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def cost(value: float | None) -> str:
    """Returns a cost as it reads in a table: three digits, from 100 on whole numbers; a dash for none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def p_value(value: float) -> str:
    """Returns a p-value with three decimals."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def render(template: str, **values: Any) -> Markup:
    """Fills in a template of this package, autoescaped."""
    environment = Environment(
        loader=PackageLoader("nichenas.core.figures"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["p_value"] = p_value
    environment.filters["cost"] = cost
    return Markup(environment.get_template(template).render(**values))  # noqa: S704  (the template has escaped it)


def write_page(file: Path, template: str, **values: Any) -> Path:
    """Fills in a template and writes the page atomically.

    Raises:
        RunFolderError: when it cannot be written.
    """
    try:
        write_text(file, render(template, **values))
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be written ({error.strerror})") from None
    return file
