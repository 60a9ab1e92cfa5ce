"""A bundle is whole or not there, and nobody else's files are at risk."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.bundle import bundle
from pipeline.config import EvaluateConfig
from pipeline.errors import InputError
from pipeline.measurements import RunReport
from pipeline.store import Store

from .conftest import DATA, PRUNED, SEED
from .test_bundle import MODELS, OTHERS, files_of, manifest_of


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to write files beyond so many bytes, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_in_one_sentence_and_leaves_what_was_there(run: RunReport, store: Store, tmp_path: Path) -> None:
    with largest_file(3000), pytest.raises(InputError, match=r"cannot write .*bundle: File too large; free space there"):
        bundle(run, PRUNED, tmp_path / "bundle", DATA, SEED, EvaluateConfig(), store)
    assert not list(tmp_path.iterdir())
    bundle(run, "dense", tmp_path / "bundle", DATA, SEED, EvaluateConfig(), store)
    before = files_of(tmp_path / "bundle")
    with largest_file(3000), pytest.raises(InputError, match="cannot write"):
        bundle(run, PRUNED, tmp_path / "bundle", DATA, SEED, EvaluateConfig(), store, force=True)
    assert files_of(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_only_an_untouched_bundle_is_replaced_and_only_by_force(
    run: RunReport, store: Store, own_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds an earlier bundle; replace it with --force"):
        bundle(run, "dense", own_bundle, DATA, SEED, EvaluateConfig(), store)
    engine = own_bundle / "model.fp16.engine"
    engine.write_bytes(b"built on the device")
    with pytest.raises(InputError, match=r"holds model\.fp16\.engine, which came after the bundle"):
        bundle(run, "dense", own_bundle, DATA, SEED, EvaluateConfig(), store, force=True)
    assert set(files_of(own_bundle)) == MODELS | OTHERS | {engine.name}
    engine.unlink()
    sums = (own_bundle / "SHA256SUMS").read_bytes()
    (own_bundle / "SHA256SUMS").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"holds \.fair-pruner-bundle, which came after the bundle"):
        bundle(run, "dense", own_bundle, DATA, SEED, EvaluateConfig(), store, force=True)
    (own_bundle / "SHA256SUMS").write_bytes(sums)
    bundle(run, "dense", own_bundle, DATA, SEED, EvaluateConfig(), store, force=True)
    assert manifest_of(own_bundle).candidate == "dense"
    assert "model.fp16.onnx" not in files_of(own_bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda path: path.write_text("a file"), "is in the way and is no folder"),
        (lambda path: path.symlink_to(path.parent), "is in the way and is no folder"),
        (lambda path: (path / "thesis").mkdir(parents=True), "is in the way and is no bundle"),
    ],
)
def test_what_somebody_else_made_is_not_touched(
    put: Callable[[Path], object], message: str, run: RunReport, store: Store, tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    put(target)
    for force in (False, True):
        with pytest.raises(InputError, match=message):
            bundle(run, PRUNED, target, DATA, SEED, EvaluateConfig(), store, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert target.is_file() or target.is_symlink() or (target / "thesis").is_dir()


def test_an_empty_folder_is_not_in_the_way(run: RunReport, store: Store, tmp_path: Path) -> None:
    (tmp_path / "new" / "bundle").mkdir(parents=True)
    bundle(run, "dense", tmp_path / "new" / "bundle", DATA, SEED, EvaluateConfig(), store)
    assert (tmp_path / "new" / "bundle" / "SHA256SUMS").is_file()
