from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nichenas.core.commands.compare import ComparisonDesign
from nichenas.core.commands.compare import run_compare
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import RawConfig
from nichenas.core.config import ResolvedConfig
from nichenas.core.figures.drawing import to_svg
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.journal import Journal
from nichenas.core.trial import Drawing
from tests.conftest import toy_config

QUIET = RunOptions(quiet=True)


class Checker(HTMLParser):
    """Collects tags and addresses, and fails on tags that are not closed."""

    VOID = {"meta", "rect", "path", "use", "br", "link", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def check(page: Path) -> tuple[str, Checker]:
    text = page.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.tags
    assert all(address.startswith("#") for address in checker.addresses)
    assert not re.search(r"url\((?!#)", text)
    return text, checker


def test_a_runs_page_is_self_contained_and_complete(toy: Callable[..., ResolvedConfig], tmp_path: Path) -> None:
    run_search(toy(domain={"fail": 0.2, "size_objective": True}), tmp_path / "run", QUIET)
    text, checker = check(tmp_path / "run" / "report.html")
    for word in ("best so far", "Final trainings", "(chosen)", "middle", "Top 10", "diverged", "Pareto front", "torch"):
        assert word in text
    assert checker.tags.count("svg") >= 4


def test_text_from_a_run_is_escaped(toy: Callable[..., ResolvedConfig], tmp_path: Path) -> None:
    run_search(toy(domain={"misbehave": "error"}), tmp_path / "run", QUIET)
    with Journal(tmp_path / "run" / "journal.sqlite") as journal:
        journal._begin()
        journal._db.execute("UPDATE trials SET record = replace(record, '\"error\"', '\"<script>alert(1)</script>\"')")
    text, _ = check(write_run_page(tmp_path / "run"))
    assert "&lt;script&gt;alert(1)" in text


def test_an_unfinished_run_has_a_page_too(toy: Callable[..., ResolvedConfig], tmp_path: Path) -> None:
    run_search(toy(), tmp_path / "run", QUIET)
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "drawings.json").unlink()
    text, _ = check(write_run_page(tmp_path / "run"))
    assert "not finished" in text


def test_the_page_of_a_comparison(tmp_path: Path) -> None:
    design = ComparisonDesign(["evolution", "random"], 3)
    raw = RawConfig(toy_config(search={"trials": 10}), "toy.yaml")
    summary = run_compare(raw, design, tmp_path / "all", QUIET)
    text, _ = check(tmp_path / "all" / "report.html")
    words = ("evolution against random", "Any-time curves", "Baselines", "middle", "paired sign-flip test")
    for word in (*words, "Equal budget for all: 10 trials a run", "With 3 runs an arm no p-value can be below 0.25"):
        assert word in text.replace("Two-sided", "two-sided")
    assert summary.arms[0].best_validation.n == 3


def test_drawings_place_nodes_below_their_sources() -> None:
    svg = to_svg(
        Drawing({"a": "x < y", "b": "two\nlines", "c": "c"}, [("a", "b", "8"), ("b", "c", ""), ("a", "c", "")])
    )
    assert "x &lt; y" in svg
    tops = [float(y) for y in re.findall(r'<rect x="[^"]+" y="([^"]+)"', svg)]
    assert tops == sorted(tops)
    assert len(set(tops)) == 3


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (Drawing({"a": "a", "b": "b"}, [("a", "b", ""), ("b", "a", "")]), "cycle"),
        (Drawing({"a": "a"}, [("a", "z", "")]), "unknown node"),
    ],
)
def test_impossible_drawings(drawing: Drawing, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_svg(drawing)


def test_an_edge_does_not_run_behind_a_node() -> None:
    chain = [("a", "b", ""), ("b", "c", ""), ("c", "d", "")]
    plain = to_svg(Drawing({n: n for n in "abcd"}, chain))
    around = to_svg(Drawing({n: n for n in "abcd"}, [*chain, ("a", "d", "a skip"), ("b", "d", "")]))
    widths = [float(re.search(r'width="(\d+)"', str(svg)).group(1)) for svg in (plain, around)]  # type: ignore[union-attr]
    assert widths[1] > widths[0] + 60  # two lanes and a label beside the nodes
    paths = re.findall(r'd="M[^"]*V[^"]*"', str(around))
    assert len(paths) == 2
    right = max(
        float(x) + float(w) for x, w in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', str(around))
    )
    for path in paths:
        lane = float(re.search(r"C([\d.]+) ", path).group(1))  # type: ignore[union-attr]
        assert right < lane < widths[1]
