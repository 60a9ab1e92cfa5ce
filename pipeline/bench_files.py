"""Somebody's own files -> latency, measured as that of a sweep's candidates is."""

from pathlib import Path

from pydantic import ValidationError

from pipeline.benchmark import benchmark
from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.latency import LatencyReport
from pipeline.latency_change import refuse_incomparable
from pipeline.machine import describe
from pipeline.own_files import own_contestants
from pipeline.store import Store
from pipeline.whole_files import make_folder

OPTIONS = {"runtimes": "runtime", "batch_sizes": "batch"}  # where the command calls a setting otherwise


def bench_config(**settings: object) -> BenchmarkConfig:
    """The configuration with these settings, None for its default. Raises InputError that names the option."""
    try:
        return BenchmarkConfig.model_validate({name: value for name, value in settings.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        option = OPTIONS.get(name, name.replace("_", "-"))
        raise InputError(f"--{option} {first['input']} is refused: {first['msg']}") from error


def bench_files(paths: tuple[Path, ...], config: BenchmarkConfig, earlier: LatencyReport | None) -> LatencyReport:
    """Latency of each file in each runtime, beside the first one in the same runtime.

    With `earlier` it is seen first that the two can be compared. Raises InputError as `own_contestants`, `benchmark` and
    `refuse_incomparable` do.
    """
    contestants = own_contestants(paths, config.runtimes, config.batch_sizes)
    if earlier:
        asked = frozenset((each.name, each.runtime, size) for each in contestants for size in config.batch_sizes)
        libraries = dict.fromkeys(series.runtime for series in earlier.series)  # others, used now only, decide nothing
        refuse_incomparable(earlier, describe(tuple(libraries)), config.threads, asked)
    return benchmark(contestants, config, Store(Path.cwd()))


def check_output(file: Path) -> None:
    """Raise InputError if a report could not be written there, before time is spent on it."""
    if file.is_dir() or not file.parent.is_dir():
        found = "is a folder" if file.is_dir() else "lies in a folder that does not exist"
        raise InputError(f"{file} {found}; give the path of a JSON file to write")
    make_folder(file.parent)
