"""JUnit XML of a gate's result: by the schema, and as an independent reader understands it."""

from datetime import datetime
from pathlib import Path

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml

from pipeline.bounds import Check
from pipeline.gate import GateResult
from pipeline.junit import junit
from pipeline.measurements import Recommendation

NOW = datetime(2026, 11, 25, 14, 9, 49)
PASSED = Check(name="accuracy", found="0.28 points lost", allowed="at most 1 points lost")
REFUSED = Check(
    name="p99 latency", found="0.800 ms", allowed="at most 0.1 ms", outcome="refused", objection="its 99th percentile is 0.800 ms"
)
NOISY = Check(
    name="speed-up", found="1.28 [1.10, 1.50]", allowed="at least 1.2", outcome="too noisy to tell", objection="too noisy to tell"
)
APART = Check(name="latency", found="not comparable", allowed="at most 2", outcome="not comparable", objection="other machines")


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def result(*checks: Check) -> GateResult:
    return GateResult(
        run="digits",
        candidate="tolerance-0.2",
        precision="fp32",
        runtime="onnxruntime",
        batch_size=1,
        checks=checks,
        recommendation=Recommendation(reason="nothing is recommended"),
    )


@pytest.mark.parametrize("checks", [(PASSED,), (PASSED, REFUSED, NOISY, APART)])
def test_it_is_valid(schema: xmlschema.XMLSchema, checks: tuple[Check, ...]) -> None:
    assert list(schema.iter_errors(junit(result(*checks), NOW).decode())) == []


@pytest.mark.parametrize("part", [' hostname="localhost"', ' type="refused"', "<system-err />", ' time="0"', ' errors="2"'])
def test_the_schema_misses_what_is_left_out(schema: xmlschema.XMLSchema, part: str) -> None:
    document = junit(result(PASSED, REFUSED, NOISY, APART), NOW).decode()
    assert part in document
    assert list(schema.iter_errors(document.replace(part, "", 1)))


@given(run=st.text(), found=st.text())
def test_any_text_can_be_read_back(run: str, found: str) -> None:
    check = REFUSED.model_copy(update={"found": found})
    suite = next(iter(JUnitXml.fromstring(junit(result(check).model_copy(update={"run": run}), NOW))))
    message = next(iter(suite)).result[0].message
    assert message.endswith(", allowed at most 0.1 ms: its 99th percentile is 0.800 ms")
    if found.isprintable():
        assert message.startswith(f"found {found}, ")


def test_a_reader_finds_one_case_a_bound_and_what_speaks_against_it() -> None:
    suite = next(iter(JUnitXml.fromstring(junit(result(PASSED, REFUSED, NOISY, APART), NOW))))
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("gate", 4, 1, 2, 0)
    assert suite.timestamp == "2026-11-25T14:09:49"
    assert {each.name: each.value for each in suite.properties()} == {
        "run": "digits",
        "candidate": "tolerance-0.2",
        "precision": "fp32",
        "runtime": "onnxruntime",
        "batch_size": "1",
    }
    passed, refused, noisy, apart = suite
    assert [case.name for case in suite] == ["accuracy", "p99 latency", "speed-up", "latency"]
    assert {case.classname for case in suite} == {"gate.digits"}
    assert passed.is_passed
    assert isinstance(refused.result[0], Failure)
    assert refused.result[0].message == "found 0.800 ms, allowed at most 0.1 ms: its 99th percentile is 0.800 ms"
    for case in (noisy, apart):
        assert isinstance(case.result[0], Error)
    assert noisy.result[0].type == "too noisy to tell"
    assert "measure again on a quieter machine" in noisy.result[0].message
    assert apart.result[0].type == "not comparable"
    assert "measure the baseline anew" in apart.result[0].message
