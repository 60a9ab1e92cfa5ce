"""The options that the benchmarks over several models share."""

import argparse
from collections.abc import Iterable
from pathlib import Path


def chosen(description: str | None, models: Iterable[str]) -> tuple[list[str], Path]:
    """The models of --only (default: all) and the folder of --output. Ends the program for a model that is not there."""
    names = list(models)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names), help=f"some of {', '.join(names)}, with commas between")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder that keeps all files; default: runs")
    arguments = parser.parse_args()
    wanted: list[str] = arguments.only.split(",")
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(names)}")
    return wanted, arguments.output
