"""A gate's result as JUnit XML, in the form that both Ant's schema and Jenkins' accept: GitLab and GitHub tools read it too."""

import re
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline.gate import GateResult, reason

NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # a report.json may hold such characters


def junit(result: GateResult, judged_at: datetime) -> bytes:
    """One test case a bound. A bound that does not hold is a failure, one that could not be checked an error of its own type.

    What is found and what is allowed stands in the attribute `message` and in the text, since CI systems show one of the two.
    """
    outcomes = [check.outcome for check in result.checks]
    refused = outcomes.count("refused")
    root = Element("testsuites")
    suite = SubElement(
        root,
        "testsuite",
        id="0",
        package="fair-pruner",
        name="gate",
        hostname="localhost",
        timestamp=judged_at.strftime("%Y-%m-%dT%H:%M:%S"),
        tests=str(len(outcomes)),
        failures=str(refused),
        errors=str(len(outcomes) - outcomes.count("passed") - refused),
        skipped="0",
        time="0",
    )
    properties = SubElement(suite, "properties")
    for name in ("run", "candidate", "precision", "runtime", "batch_size"):
        SubElement(properties, "property", name=name, value=_legal(str(getattr(result, name))))
    for check in result.checks:
        case = SubElement(suite, "testcase", classname=_legal(f"gate.{result.run}"), name=check.name, time="0")
        if check.outcome != "passed":
            kind = "failure" if check.outcome == "refused" else "error"
            message = _legal(f"found {check.found}, allowed {check.allowed}: {reason(check)}")
            SubElement(case, kind, type=check.outcome, message=message).text = message
    SubElement(suite, "system-out").text = _legal(result.sentence)
    SubElement(suite, "system-err")
    indent(root)
    content: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def _legal(text: str) -> str:
    return NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
