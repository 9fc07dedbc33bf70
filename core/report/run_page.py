from pathlib import Path


def write_run_page(folder: Path) -> Path:
    return folder
