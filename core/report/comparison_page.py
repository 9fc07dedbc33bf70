from pathlib import Path
from typing import Any


def write_comparison_page(folder: Path, *args: Any) -> Path:
    return folder
