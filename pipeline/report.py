"""Stage: all that was measured -> the report of the run, and a folder of files for each candidate."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from pipeline.candidate_files import candidate_files
from pipeline.config import GateConfig
from pipeline.curve_figure import CURVES, curves_figure
from pipeline.errors import InputError
from pipeline.figures import depth_figure, pareto_figure
from pipeline.findings import batch_sizes, pareto, series_of
from pipeline.latency import LatencyReport, LayerCostRecord
from pipeline.measurements import Candidate, RunReport, SearchRecord
from pipeline.rankings import ranking_of
from pipeline.recommend import recommend
from pipeline.records import PlanRecord, ScoreRecord, digest_of, timed
from pipeline.redact import without_secrets
from pipeline.report_text import report_text
from pipeline.store import Store
from pipeline.sums import SUMS, sums_text
from pipeline.whole_files import make_folder, put_in_place, sync_folders, unfinished_file, write_together

MARK = ".fair-pruner"  # lies in every folder that this stage made, and in no other
PRECISIONS = ("fp16", "int8-cpu", "int8-trt")
ENDINGS = ("onnx", "engine", "engine.log")
PLACED = frozenset({"plan.json", "model.safetensors"}) | {
    f"model.{precision}{ending}" for precision in ("", *(f"{name}." for name in PRECISIONS)) for ending in ENDINGS
}
DEPTH_FIGURE = re.compile(r"depth-(ratio-|macs-|params-|bytes-|latency_ms-)?[0-9.e+-]+\.png")


@timed
def report(
    name: str,
    folder: Path,
    config: dict[str, Any],
    candidates: tuple[Candidate, ...],
    latency: LatencyReport,
    scores: ScoreRecord,
    plans: tuple[PlanRecord, ...],
    layer_costs: LayerCostRecord | None,
    gate: GateConfig,
    flow_run_id: str,
    git_commit: str,
    store: Store,
    rebuilt_from: str = "",
    search: SearchRecord | None = None,
) -> RunReport:
    """Write report.json, report.md, the figures and one folder per candidate into `folder`; candidates[0] is the dense model.

    `scores` are those of the dense model and `plans` the first cuts: the figure of the ToD curves shows both. What is to be
    shipped is decided by `gate`. `rebuilt_from` is the digest of the report that engines were built anew for, if that is so,
    `search` how the candidates were found, if they were.

    A candidate's folder holds model.onnx, model.safetensors, and if there are any plan.json, model.engine with its log, and
    the same with a precision in the name, such as model.fp16.onnx: hard links into the store, or copies where links cannot be
    made. What an earlier report left in `folder` is replaced; nothing that this stage did not make is touched. report.json is
    written last, so it is complete if it is there. Raises InputError if the folder cannot be written, a candidate's folder is
    somebody else's, or a file is missing from the store; StageError if the measurement lacks a candidate.
    """
    folder = folder.resolve()
    first = batch_sizes(latency)[0]
    front = pareto([(c.onnx_test.top1, series_of(latency, c.name, first).p50_ms) for c in candidates])
    result = RunReport(
        parents=_lineage(candidates, latency, scores),
        name=name,
        folder=str(folder),
        config=without_secrets(config),
        config_digest=digest_of(config),
        git_commit=git_commit,
        rebuilt_from=rebuilt_from,
        flow_run_id=flow_run_id,
        candidates=candidates,
        latency=latency,
        scores=scores,
        layer_costs=layer_costs,
        search=search,
        recommendation=recommend(candidates, latency, gate),
        pareto=tuple(candidates[index].name for index in front),
    )
    images = {"pareto.png": pareto_figure(result), CURVES: curves_figure(ranking_of(scores, store).groups, plans, name)}
    for candidate in candidates:
        if candidate.plan:
            images[f"depth-{candidate.name.removeprefix('tolerance-')}.png"] = depth_figure(candidate.plan, name)
    text = report_text(result, tuple(images))
    files = {c.name: {name: store.path(ref) for name, ref in candidate_files(c).items()} for c in candidates}
    make_folder(folder)
    for candidate_name in files:
        _check_free(folder / candidate_name)
    (folder / "report.json").unlink(missing_ok=True)
    _remove_earlier(folder)
    for candidate_name, sources in files.items():
        _place(sources, folder / candidate_name)
    written = images | {"report.md": text.encode(), "report.json": result.model_dump_json(indent=2).encode()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in written.items()}
    sums |= {f"{c.name}/{name}": ref.sha256 for c in candidates for name, ref in candidate_files(c).items()}
    *others, last = written.items()
    write_together({folder / name: content for name, content in (*others, (SUMS, sums_text(sums).encode()), last)})
    return result


def _lineage(candidates: tuple[Candidate, ...], latency: LatencyReport, scores: ScoreRecord) -> tuple[str, ...]:
    """Digests of every record that the report says something about, candidate by candidate."""
    records = []
    for c in candidates:
        evaluations = (c.recalibrated_validation, c.torch_validation, c.torch_test, c.onnx_validation, c.onnx_test)
        variants = [record for variant in c.variants for record in (variant.onnx, variant.validation, variant.engine)]
        records += [record for record in (c.plan, c.model, c.onnx, c.engine, *evaluations, *variants) if record]
    return tuple(dict.fromkeys(record.digest for record in (scores, *records, latency)))


def _check_free(folder: Path) -> None:
    taken = folder.is_symlink() or (folder.exists() and not folder.is_dir())
    if taken or (folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir())):
        raise InputError(f"{folder} is in the way and was not made by a report; move it, or give the run another name")


def _remove_earlier(folder: Path) -> None:
    """Remove candidate folders and depth figures of an earlier report; of a marked folder only the files placed there."""
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        if path.is_file() and DEPTH_FIGURE.fullmatch(path.name):
            path.unlink()
        elif (path / MARK).is_file():
            for file in PLACED:
                (path / file).unlink(missing_ok=True)
            if [found.name for found in path.iterdir()] == [MARK]:
                (path / MARK).unlink()
                path.rmdir()


def _place(files: dict[str, Path], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / MARK).touch()
    for name, source in files.items():
        try:
            os.link(source, folder / name)
        except OSError:  # another file system, or one without hard links
            with unfinished_file(folder, source.suffix) as unfinished:
                shutil.copyfile(source, unfinished)
                put_in_place({unfinished: folder / name})
    sync_folders([folder, folder.parent])
