"""The report's folder, its record and its words."""

import os

import pytest

from pipeline import report as report_module
from pipeline.errors import InputError, StageError
from pipeline.latency import LayerCostRecord
from pipeline.measurements import RunReport
from pipeline.report import MARK, report

PNG = b"\x89PNG, drawn in test_figures.py"
ALL = ("dense", "not_faster", "slower", "quick", "quicker")


@pytest.fixture(autouse=True)
def drawings(monkeypatch):
    for name in ("pareto_figure", "depth_figure", "curves_figure"):
        monkeypatch.setattr(report_module, name, lambda *_: PNG)


@pytest.fixture
def sweep(make_sweep, tmp_path):
    return make_sweep(tmp_path, *ALL)


def row(text: str, section: str, *cells: str) -> list[str]:
    """The cells of the first line in a section's table that has all these cells."""
    lines = text.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return next(found for found in tables if set(cells) <= set(found))


def test_report_json_gives_the_record_back(sweep):
    result = report(**sweep)
    saved = RunReport.model_validate_json((sweep["folder"] / "report.json").read_text())
    assert saved == result.model_copy(update={"seconds": saved.seconds})
    assert saved.digest == result.digest
    assert result.seconds > 0


def test_front_and_lineage(sweep):
    result = report(**sweep)
    assert result.pareto == ("dense", "tolerance-0.05", "tolerance-0.2", "tolerance-0.4")
    digests = {record.digest for c in sweep["candidates"] for record in (c.model, c.onnx, c.onnx_test, c.engine)}
    assert digests | {sweep["latency"].digest} <= set(result.parents)


def test_digest_is_that_of_the_inputs_not_of_the_folder(make_sweep, tmp_path):
    assert len({report(**make_sweep(tmp_path / place, *ALL)).digest for place in "ab"}) == 1


def test_each_candidate_has_its_files(sweep):
    report(**sweep)
    folder, store = sweep["folder"], sweep["store"]
    for candidate in sweep["candidates"]:
        expected = {"model.onnx", "model.safetensors", MARK}
        expected |= {"plan.json"} if candidate.plan else set()
        expected |= {"model.engine"} if candidate.engine.file else set()
        assert {path.name for path in (folder / candidate.name).iterdir()} == expected
        assert (folder / candidate.name / "model.onnx").samefile(store.path(candidate.onnx.file))
    figures = {path.name for path in folder.glob("*.png")}
    assert figures == {"pareto.png", "tod-curves.png", *(f"depth-{tolerance}.png" for tolerance in (0.05, 0.1, 0.2, 0.4))}


def test_where_links_cannot_be_made_files_are_copied(sweep, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    report(**sweep)
    copy = sweep["folder"] / "dense" / "model.onnx"
    original = sweep["store"].path(sweep["candidates"][0].onnx.file)
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)


def test_what_an_earlier_report_made_goes_and_the_rest_stays(make_sweep, tmp_path):
    report(**make_sweep(tmp_path, *ALL))
    folder = tmp_path / "digits"
    (folder / "tolerance-0.1" / "my notes.txt").write_text("mine")
    (folder / "mine").mkdir()
    (folder / "mine" / "model.onnx").write_text("mine")
    (folder / "depth-of-field.png").write_text("mine")
    (folder / "linked").symlink_to(folder / "mine", target_is_directory=True)
    report(**make_sweep(tmp_path, "dense", "quick"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "dense",
        "depth-0.2.png",
        "depth-of-field.png",
        "linked",
        "mine",
        "pareto.png",
        "report.json",
        "report.md",
        "tod-curves.png",
        "tolerance-0.1",
        "tolerance-0.2",
    ]
    assert {path.name for path in (folder / "tolerance-0.1").iterdir()} == {"my notes.txt", MARK}
    assert (folder / "mine" / "model.onnx").read_text() == "mine"
    report(**make_sweep(tmp_path, *ALL))
    assert {path.name for path in (folder / "tolerance-0.1").iterdir()} >= {"my notes.txt", "model.onnx", "plan.json"}


def test_a_stranger_in_the_way_stops_the_report_before_anything_is_changed(make_sweep, tmp_path):
    folder = tmp_path / "digits"
    (folder / "dense").mkdir(parents=True)
    (folder / "dense" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="dense is in the way and was not made by a report"):
        report(**make_sweep(tmp_path, *ALL))
    assert [path.name for path in folder.iterdir()] == ["dense"]


def test_a_file_gone_from_the_store_is_named_before_anything_is_changed(sweep):
    sweep["store"].path(sweep["candidates"][2].onnx.file).unlink()
    with pytest.raises(InputError, match=r"\.onnx is missing from the store"):
        report(**sweep)
    assert not sweep["folder"].exists()


def test_an_unmeasured_candidate_is_named(sweep):
    latency = sweep["latency"]
    fewer = latency.model_copy(update={"series": tuple(s for s in latency.series if s.candidate != "tolerance-0.1")})
    with pytest.raises(StageError, match=r"nothing on tolerance-0\.1 at batch size 1"):
        report(**sweep | {"latency": fewer})


def test_words_of_the_report(sweep):
    report(**sweep)
    text = (sweep["folder"] / "report.md").read_text()
    assert text.startswith("# digits\n\n**tolerance-0.2 is 1.25 times as fast as the dense model")
    assert row(text, "Size", "tolerance-0.2 *")[1:5] == ["0.2", "21.9% (28 of 128)", "56,000 (80%)", "800,000 (80%)"]
    assert row(text, "Accuracy", "tolerance-0.2")[:6] == ["tolerance-0.2", "96.39%", "-1.11", "96.39%", "91.39%", "96.19%"]
    assert row(text, "Latency", "1", "dense")[-3:] == ["1", "reference", "1.00"]
    assert row(text, "Latency", "1", "tolerance-0.05")[-3:] == ["1.02 (0.97 to 1.06)", "not faster", "1.05"]
    assert row(text, "Latency", "8", "tolerance-0.1")[-3:] == ["0.96 (0.94 to 0.98)", "slower", "1.11"]
    assert row(text, "Latency", "8", "tolerance-0.4")[-3:] == ["2.40 (2.30 to 2.50)", "faster", "1.67"]
    assert row(text, "TensorRT engines", "dense")[1:4] == ["fp32", "built, not executed", "8"]
    assert row(text, "TensorRT engines", "tolerance-0.4")[2] == "none"
    assert row(text, "TensorRT engines", "tolerance-0.4")[-1] == "engine.enabled is false"
    masses = ["0.56", "4.4%", "1.68", "2.8", "0.84", "+0.28 (removes less)"]
    assert row(text, "What the plan guarantees", "tolerance-0.2")[1:] == masses
    assert row(text, "Recall per class", "tolerance-0.2")[1:] == ["0", "95.25%", "93.14%", "-2.11", "93.14%"]
    assert sweep["candidates"][1].model.digest[:12] in text
    for condition in (
        "Model CPU 3000, 2 cores, Linux 6; no GPU",
        "onnxruntime 1.24.0, python 3.11.7",
        "runtimes: onnxruntime",
        "To ship: tolerance-0.2 in fp32 is at least 1.20 times as fast",
        "wasserstein, read at the activation, mean over the layers of a group; absolute R-Score; 640 images of 10 classes",
        "threads: 1",
        "400, in 20 rounds",
        "0.42",
        "360 test",
        "0123456789abcdef",
        "flow-1",
    ):
        assert condition in text


def test_without_a_faster_candidate_no_speed_up_is_claimed(make_sweep, tmp_path):
    report(**make_sweep(tmp_path, "dense", "not_faster", "slower"))
    text = (tmp_path / "digits" / "report.md").read_text()
    assert "None of the 2 candidates is faster than the dense model" in text
    assert "times as fast" not in text
    verdicts = {row(text, "Latency", size, name)[-2] for size in "18" for name in ("tolerance-0.05", "tolerance-0.1")}
    assert verdicts == {"not faster", "slower"}


def test_a_candidate_of_which_no_class_suffers(make_sweep, tmp_path):
    report(**make_sweep(tmp_path, "dense", "quick", quick={"top1": 0.98}))
    text = (tmp_path / "digits" / "report.md").read_text()
    assert row(text, "Recall per class", "tolerance-0.2")[1:] == ["none", "-", "-", "-", "96.20%"]


def test_a_pipe_or_line_break_in_a_reason_does_not_break_the_table(sweep):
    first, *others = sweep["candidates"]
    odd = first.model_copy(update={"engine": first.engine.model_copy(update={"reason": "a|b\nc"})})
    report(**sweep | {"candidates": (odd, *others)})
    assert "a\\|b c" in (sweep["folder"] / "report.md").read_text()


def test_files_in_other_precisions_have_their_losses_and_gains(with_variants):
    report(**with_variants)
    folder, store = with_variants["folder"], with_variants["store"]
    variant = with_variants["candidates"][1].variants[1]
    assert (folder / "tolerance-0.2" / "model.int8-cpu.onnx").samefile(store.path(variant.onnx.file))
    assert not (folder / "tolerance-0.2" / "model.int8-cpu.engine").exists()
    assert (folder / "tolerance-0.2" / "model.fp16.engine").exists()
    text = (folder / "report.md").read_text()
    cells = ["85.00%", "-3.40", "0.0005", "1.60 (1.50 to 1.70)", "none"]
    reason = "loses 12.30 points on the validation images, 2 are allowed"
    assert row(text, "Precisions", "int8-cpu")[6:] == [*cells, reason]
    assert row(text, "Precisions", "fp16")[9:] == ["not measured", "built, not executed", "-"]
    assert row(text, "Latency", "int8-cpu")[:4] == ["1", "tolerance-0.2", "int8-cpu", "onnxruntime"]
    assert "To ship: tolerance-0.2 in fp32" in text
    assert row(text, "TensorRT engines", "fp16")[:3] == ["tolerance-0.2", "fp16", "built, not executed"]


def test_predictions_stand_beside_what_was_measured(make_sweep, tmp_path):
    sweep = make_sweep(tmp_path, "dense", "quick")
    dense, quick = sweep["candidates"]
    predicted = quick.model_copy(update={"plan": quick.plan.model_copy(update={"latency_ms": 0.38})})
    costs = LayerCostRecord(
        table=dense.model.weights, batch_size=1, threads=1, dense_ms=0.5, layers=3, points=30, machine=sweep["latency"].machine
    )
    report(**sweep | {"candidates": (dense, predicted), "layer_costs": costs})
    text = (sweep["folder"] / "report.md").read_text()
    assert row(text, "Predicted latency", "tolerance-0.2") == ["tolerance-0.2", "0.380", "0.400", "-5.0%"]
    other = costs.model_copy(update={"threads": 2})
    report(**sweep | {"candidates": (dense, predicted), "layer_costs": other})
    assert "0.380" not in (sweep["folder"] / "report.md").read_text()  # nothing to compare with
