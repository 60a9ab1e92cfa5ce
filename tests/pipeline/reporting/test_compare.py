"""What is compared with what: one machine, the same images, one batch size; everything else is kept apart or refused."""

from pathlib import Path

import pytest

from pipeline.compare import Comparison, compare
from pipeline.compare_text import accuracy, drift
from pipeline.errors import InputError
from pipeline.findings import wilson
from pipeline.measurements import RunReport

from .conftest import Row
from .finished import finished

OTHER = (
    Row(None, 0.98, {1: (0.55, 1, 1, 1), 8: (2.5, 1, 1, 1)}),
    Row(0.3, 0.97, {1: (0.38, 1.4, 1.3, 1.5), 8: (1.5, 1.6, 1.5, 1.7)}),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def compared(*reports: RunReport, batch_size: int | None = None) -> Comparison:
    return compare([(Path(report.folder), report) for report in reports], batch_size)


def names(comparison: Comparison, block: int = 0) -> list[str]:
    return [f"{row.run.name} {row.candidate.name}" for row in comparison.blocks[block].rows]


def test_all_files_of_all_runs_are_ordered_by_latency_and_share_one_front(root):
    comparison = compared(finished(root / "a", "dense", "quick", "quicker"), finished(root / "b", *OTHER))
    (block,) = comparison.blocks
    assert comparison.batch_size == 1
    assert names(comparison) == ["a tolerance-0.4", "b tolerance-0.3", "a tolerance-0.2", "a dense", "b dense"]
    # b's tolerance-0.3 is quicker and more accurate than a's tolerance-0.2, which leads a's own front
    assert [f"{row.run.name} {row.candidate.name}" for row in block.rows if row.on_front] == [
        "a tolerance-0.4",
        "b tolerance-0.3",
        "a dense",
        "b dense",
    ]
    assert [row.candidate.name for row in block.rows if row.recommended] == ["tolerance-0.3", "tolerance-0.2"]
    assert block.apart == ()


def test_another_batch_size_can_be_chosen(root):
    comparison = compared(finished(root / "a", "dense", "quick"), batch_size=8)
    assert [row.series.p50_ms for row in comparison.blocks[0].rows] == [1.8, 2.4]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"machine": {"cpu": "Other CPU"}},
            "latencies of different machines are not compared: cpu is Model CPU 3000 in a and b and Other CPU in c",
        ),
        (
            {"machine": {"gpu": "Orin, 540.4"}},
            "latencies of different machines are not compared: gpu is none in a and b and Orin, 540.4 in c",
        ),
        ({"threads": 4}, "latencies of different machines are not compared: threads is 1 in a and b and 4 in c"),
        (
            {"data": {"name": "cifar10"}},
            "accuracies on different images are not compared: data.name is digits in a and b and cifar10 in c",
        ),
    ],
)
def test_what_does_not_compare_is_in_a_block_of_its_own_with_a_front_of_its_own(change, sentence, root):
    first, second = finished(root / "a", "dense", "quick"), finished(root / "b", *OTHER)
    comparison = compared(first, finished(root / "c", "dense", "slower", **change), second)
    assert [[run.name for run in block.runs] for block in comparison.blocks] == [["a", "b"], ["c"]]
    assert comparison.blocks[1].apart == (sentence,)
    # c's dense model would be beaten by others if they were on one front
    assert [row.candidate.name for row in comparison.blocks[1].rows if row.on_front] == ["dense"]


def test_machine_and_images_may_both_differ(root):
    other = finished(root / "b", "dense", machine={"cores": 8}, data={"name": "svhn"})
    (machine, images) = compared(finished(root / "a", "dense"), other).blocks[1].apart
    assert "cores is 2 in a and 8 in b" in machine
    assert "data.name is digits in a and svhn in b" in images


def test_another_number_of_test_images_is_another_data_set(root):
    first, second = finished(root / "a", "dense"), finished(root / "b", "dense")
    dense = second.candidates[0]
    fewer = dense.model_copy(update={"onnx_test": dense.onnx_test.model_copy(update={"samples": 100})})
    comparison = compared(first, second.model_copy(update={"candidates": (fewer,)}))
    assert comparison.blocks[1].apart == (
        "accuracies on different images are not compared: test images is 360 in a and 100 in b",
    )


@pytest.mark.parametrize(("name", "blocks"), [("cifar10", 1), ("imagefolder", 2)])
def test_where_a_known_data_set_lies_does_not_matter_but_a_folder_of_images_is_its_own(name, blocks, root):
    reports = [finished(root / folder, "dense", data={"name": name, "root": folder}) for folder in ("a", "b")]
    assert len(compared(*reports).blocks) == blocks


def test_other_precisions_have_their_validation_accuracy_and_no_place_on_the_front_of_the_test_images(root):
    (block,) = compared(finished(root / "a", "dense", "quick", int8=True)).blocks
    int8 = [row for row in block.rows if row.series.precision == "int8-cpu"]
    assert len(int8) == 2
    assert all(row.test is None and not row.on_front for row in int8)
    assert int8[0].file == int8[0].candidate.variants[0].onnx.file
    assert accuracy(int8[0]) == (f"{0.9639 - 0.002 - 0.005:.2%}", "validation, -0.50")
    low, high = wilson(0.975, 360)
    assert accuracy(block.rows[-1]) == ("97.50%", f"{low:.2%} to {high:.2%}")


def test_an_engine_is_the_file_that_tensorrt_ran(root):
    report = finished(root / "a", "dense", "quick")
    series = tuple(each.model_copy(update={"runtime": "tensorrt"}) for each in report.latency.series)
    (block,) = compared(report.model_copy(update={"latency": report.latency.model_copy(update={"series": series})})).blocks
    assert all(row.file == row.candidate.engine.file for row in block.rows)


def test_how_far_the_machine_drifted_is_told_by_a_file_that_two_runs_measured(root):
    slower = Row(None, 0.975, {1: (0.55, 1, 1, 1), 8: (2.4, 1, 1, 1)})
    (block,) = compared(finished(root / "a", "dense", "quick"), finished(root / "b", slower)).blocks
    assert block.drift == pytest.approx(1.1)
    assert "differs by up to 10.0% from run to run" in drift(block)
    quick = finished(root / "c", "quick")
    (block,) = compared(finished(root / "a", "dense"), quick).blocks
    assert block.drift is None
    assert "is not known" in drift(block)


def test_runs_of_one_name_are_told_apart_by_their_folders(root):
    comparison = compared(finished(root / "a", "dense", name="same"), finished(root / "b", "dense", name="same"))
    assert [run.name for run in comparison.runs] == [f"same ({root / 'a'})", f"same ({root / 'b'})"]


def only_batch(report: RunReport, size: int) -> RunReport:
    series = tuple(each for each in report.latency.series if each.batch_size == size)
    return report.model_copy(update={"latency": report.latency.model_copy(update={"series": series})})


def test_the_first_batch_size_that_all_have_measured_is_taken(root):
    a, b = finished(root / "a", "dense"), only_batch(finished(root / "b", "dense"), 8)
    assert compared(a, b).batch_size == 8


def test_a_batch_size_that_was_not_measured_is_refused_with_those_that_were(root):
    a, b = finished(root / "a", "dense"), only_batch(finished(root / "b", "dense"), 8)
    with pytest.raises(InputError, match=r"batch size 1 .* \(measured were a: 1, 8; b: 8\); choose with --batch one of 8$"):
        compared(a, b, batch_size=1)
    with pytest.raises(InputError, match=r"no batch size was measured in all runs .*; compare fewer runs at once"):
        compared(only_batch(a, 1), b)


def test_a_run_given_twice_is_refused(root):
    report = finished(root / "a", "dense")
    with pytest.raises(InputError, match="is given more than once"):
        compared(report, report)
