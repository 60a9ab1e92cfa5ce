"""What a CI job's page says."""

from pathlib import Path

from markdown_it import MarkdownIt

from pipeline.config import GateConfig
from pipeline.gate import Baseline, gate
from pipeline.gate_text import gate_text
from pipeline.regression import RegressionConfig

from .reporting.conftest import ROWS
from .reporting.finished import finished


def test_a_refused_run_says_why_and_under_what_conditions(tmp_path: Path) -> None:
    run = finished(tmp_path / "digits", "dense", "slower", "quicker")
    text = gate_text(run, gate(run, GateConfig(max_accuracy_drop=0.02, max_p99_ms=1)))
    assert text.startswith("## digits: does not pass the gate\n")
    for line in (
        "| speed-up    | 2.00 [1.90, 2.10] | more than 1 at the lower end | passed  |",
        "| accuracy    | 5.00 points lost  | at most 2 points lost        | refused |",
        "| p99 latency | 0.375 ms          | at most 1 ms                 | passed  |",
        "- accuracy: loses 5.00 points on the validation images, 2 are allowed",
        "Judged: tolerance-0.4 in fp32, in onnxruntime at batch 1. Top-1 on the validation images 92.30% (dense 97.30%), "
        "on the test images 92.50% (dense 97.50%).",
        "- tolerance-0.1 fp32: slower: 0.80 [0.75, 0.85]",
        "- machine: Model CPU 3000, 2 cores, Linux 6; no GPU",
    ):
        assert f"\n{line}\n" in text
    assert "nothing is recommended: none of the 2 files passes the gate" in text
    assert text.count("- tolerance-0.4 fp32:") == 0  # it is the one that was judged


def test_a_run_that_passes_says_what_to_ship(tmp_path: Path) -> None:
    run = finished(tmp_path / "digits", "dense", "quick", int8=True)
    text = gate_text(run, gate(run, GateConfig(max_accuracy_drop=0.02)))
    assert text.startswith("## digits: passes the gate\n")
    assert "\nTo ship: tolerance-0.2 in int8-cpu is at least 1.92 times as fast as the dense model" in text
    assert "95.69% (dense 97.30%), of its fp32 file on the test images 96.39%" in text
    assert "Refused as well:\n\n- dense int8-cpu" not in text
    rendered = MarkdownIt().enable("table").render(text)
    assert rendered.count("<tr>") == 4
    assert "<td>passed</td>" in rendered


def test_what_only_the_baseline_refuses_is_not_said_to_ship(tmp_path: Path) -> None:
    run = finished(tmp_path / "digits", "dense", "quick")
    earlier = finished(tmp_path / "earlier", "dense", ROWS["quick"]._replace(top1=0.99))
    lenient = GateConfig(max_accuracy_drop=0.02)
    text = gate_text(run, gate(run, lenient, baseline=Baseline(earlier, RegressionConfig(max_regression=0.01))))
    assert text.startswith("## digits: does not pass the gate\n")
    assert "To ship" not in text
    assert "\nWithout the baseline it would ship: tolerance-0.2 in fp32 is at least 1.20 times as fast" in text
