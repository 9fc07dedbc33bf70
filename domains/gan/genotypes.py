"""Genotypes of AutoGAN's space: tokens of every cell, their two orders, and the published ones by name.

A cell has the tokens C (order of the block), N (norm), U (up-sampling) and SC (shortcut); the second cell and those
after it one more, the skip token: a number whose bits, the most significant one first, say which earlier cells feed
it. AutoGAN's paper puts the skip token first, its code last; a genotype says which it means (Gong et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nichenas.core.errors import ConfigError

Block = Literal["post", "pre"]
Norm = Literal["none", "batch", "instance"]
Up = Literal["bilinear", "nearest", "deconv"]
SkipPosition = Literal["last", "first"]  # as in the code, as in the paper

BLOCKS: tuple[Block, ...] = ("post", "pre")
NORMS: tuple[Norm, ...] = ("none", "batch", "instance")
UPS: tuple[Up, ...] = ("bilinear", "nearest", "deconv")


@dataclass(frozen=True)
class CellGenotype:
    """One cell.

    Attributes:
        block: normalisation and ReLU after the convolution (``post``) or before it (``pre``), in both blocks.
        norm: of both blocks.
        up: how the first block, the shortcut and the skips come to the cell's resolution.
        shortcut: whether the cell's input is added to its output.
        skips: indices of the earlier cells that feed this one, counted from 0.
    """

    block: Block = "post"
    norm: Norm = "none"
    up: Up = "bilinear"
    shortcut: bool = False
    skips: tuple[int, ...] = ()


@dataclass(frozen=True)
class Genotype:
    """A generator, or the first cells of one."""

    cells: tuple[CellGenotype, ...]

    @classmethod
    def from_tokens(cls, tokens: Sequence[int], skip_position: SkipPosition = "last") -> Genotype:
        """Returns the genotype of a token sequence.

        Raises:
            ConfigError: when there are too many or too few tokens, or one is out of range.
        """
        cells: list[CellGenotype] = []
        rest = list(tokens)
        while rest:
            index = len(cells)
            count = 4 if index == 0 else 5
            if len(rest) < count:
                raise ConfigError(f"genotype: cell {index + 1} has {len(rest)} tokens; wanted: {count}")
            part, rest = rest[:count], rest[count:]
            skip = 0
            if index > 0:
                skip = part.pop(-1 if skip_position == "last" else 0)
            limits = (2, 3, 3, 2, 2**index)
            for name, token, limit in zip(("C", "N", "U", "SC", "skip"), (*part, skip), limits, strict=True):
                if not 0 <= token < limit:
                    raise ConfigError(f"genotype: {name} of cell {index + 1} is {token}; allowed: 0 to {limit - 1}")
            c, n, u, sc = part
            cells.append(CellGenotype(BLOCKS[c], NORMS[n], up=UPS[u], shortcut=bool(sc), skips=sources(skip, index)))
        return cls(tuple(cells))

    def tokens(self, skip_position: SkipPosition = "last") -> list[int]:
        """Returns the token sequence, the inverse of :meth:`from_tokens`."""
        result: list[int] = []
        for index, cell in enumerate(self.cells):
            part = [BLOCKS.index(cell.block), NORMS.index(cell.norm), UPS.index(cell.up), int(cell.shortcut)]
            if index > 0:
                part.insert(len(part) if skip_position == "last" else 0, skip_value(cell.skips, index))
            result += part
        return result

    def __str__(self) -> str:
        """The tokens with the skip token last, cells apart."""
        tokens, parts, start = self.tokens(), [], 0
        for index in range(len(self.cells)):
            end = start + (4 if index == 0 else 5)
            parts.append(" ".join(map(str, tokens[start:end])))
            start = end
        return " | ".join(parts)


def sources(skip: int, index: int) -> tuple[int, ...]:
    """Returns the cells that the skip token of cell ``index`` names; its most significant bit is the first cell."""
    return tuple(cell for cell in range(index) if skip >> (index - 1 - cell) & 1)


def skip_value(skips: Sequence[int], index: int) -> int:
    """Returns the skip token of cell ``index``, the inverse of :func:`sources`."""
    return sum(1 << (index - 1 - cell) for cell in skips)


def parse(text: str, skip_position: SkipPosition = "last") -> Genotype:
    """Returns the genotype of a text such as ``1 0 1 1 | 1 0 0 1 1 | 1 0 1 0 3``, or of a published name.

    Raises:
        ConfigError: when it is neither.
    """
    if text in PUBLISHED:
        return PUBLISHED[text]
    try:
        tokens = [int(word) for word in text.replace("|", " ").split()]
    except ValueError:
        raise ConfigError(f"genotype: '{text}' is no token sequence, nor one of {', '.join(PUBLISHED)}") from None
    if not tokens:
        raise ConfigError("genotype: no tokens")
    return Genotype.from_tokens(tokens, skip_position)


def _tokens(text: str) -> Genotype:
    return Genotype.from_tokens([int(word) for word in text.replace("|", " ").split()])


# The three networks of AutoGAN's repository; A is the one its scripts train.
PUBLISHED: Mapping[str, Genotype] = {
    "AutoGAN-A": _tokens("1 0 1 1 | 1 0 0 1 1 | 1 0 1 0 3"),
    "AutoGAN-B": _tokens("1 0 1 1 | 1 0 1 1 1 | 1 0 1 1 3"),
    "AutoGAN-C": _tokens("1 1 1 1 | 1 0 0 1 1 | 1 0 1 0 3"),
}
