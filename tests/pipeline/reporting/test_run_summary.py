"""The page that a run shows: golden rows, what ships and why, and why nothing does."""

import pytest

from pipeline.measurements import RunReport
from pipeline.recommend import recommend
from pipeline.run_summary import candidate_rows, run_summary


@pytest.fixture
def with_files(with_variants) -> RunReport:
    """Two candidates, of which the pruned one was measured in int8 too."""
    candidates, latency = with_variants["candidates"], with_variants["latency"]
    return RunReport(
        name="digits",
        folder=str(with_variants["folder"]),
        config={},
        config_digest="",
        git_commit="",
        flow_run_id="",
        candidates=candidates,
        latency=latency,
        scores=with_variants["scores"],
        recommendation=recommend(candidates, latency, with_variants["gate"]),
        pareto=("dense", "tolerance-0.2"),
    )


def test_a_row_a_measured_file_in_the_order_of_the_measurement(with_files):
    rows = candidate_rows(with_files)
    assert [(row["candidate"], row["precision"]) for row in rows] == [
        ("dense", "fp32"),
        ("tolerance-0.2", "fp32"),
        ("tolerance-0.2", "int8-cpu"),
    ]
    assert rows[1] == {
        "candidate": "tolerance-0.2",
        "precision": "fp32",
        "runtime": "onnxruntime",
        "units removed": "21.9%",
        "MACs": "800,000 (80%)",
        "MB": "0.003",
        "top-1": "96.39% (93.92% to 97.88%)",
        "points against dense": "-1.11",
        "median": "0.400 ms (0.388 to 0.416)",
        "speed-up": "1.25 (1.20 to 1.31)",
        "verdict": "faster",
        "note": "recommended, on the Pareto front",
    }
    assert (rows[0]["speed-up"], rows[0]["points against dense"], rows[0]["units removed"]) == ("1", "–", "–")
    assert rows[2]["top-1"] == "85.00% (validation, -3.40)"
    assert len({tuple(row) for row in rows}) == 1  # the columns of a table
    assert not any(value == "-" for row in rows for value in row.values())  # Prefect's pages make a list of it


def test_the_summary_says_what_to_ship_and_why(make_report):
    text = run_summary(make_report("dense", "not_faster", "quick"), "version 3 of digits has become champion.")
    heading, finding, shipped, remark, *_ = text.split("\n\n")
    assert heading == "# digits"
    assert finding.startswith("**tolerance-0.2 is 1.25 times as fast as the dense model")
    assert shipped.startswith("To ship: tolerance-0.2 in fp32 is at least 1.20 times as fast")
    assert remark == "Version 3 of digits has become champion."
    assert "## Not recommended\n\n- tolerance-0.05 fp32: not faster: 1.02 [0.97, 1.06]" in text
    assert "\n\nEvery file that was measured at batch 1." in text
    assert "95% intervals are in brackets." in next(line for line in text.splitlines() if line.startswith("Every file"))
    assert "- machine: Model CPU 3000, 2 cores" in text
    assert "/digits/report.md`" in text


def test_the_summary_says_why_nothing_ships(make_report):
    text = run_summary(make_report("dense", "slower"))
    assert "\n\nNothing is recommended: tolerance-0.1 fp32 does not pass the gate" in text


def test_a_run_of_the_dense_model_alone_has_a_summary(make_report):
    text = run_summary(make_report("dense"))
    assert "## Not recommended" not in text
    assert len(candidate_rows(make_report("dense"))) == 1
