"""Reports of tenants, and the grammar that all of their texts have."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tap_sac.report import grammar
from tap_sac.report.questions import QUESTIONS
from tap_sac.sac.failures import Failure, Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import RunCli

Report = dict[str, Any]

STAND_IN = r"(?:Model|Namespace|Dimension|Measure|Attribute|Hierarchy|Set|Column)\d+"
NAME = rf"(?:{STAND_IN}|{'|'.join(sorted(grammar.NAMES, key=len, reverse=True))})"
COMPOSED = re.compile(
    rf"{NAME}|{NAME}(?:MasterWithHierarchy|Master|___Distinct)|{NAME}_(?:PARENTID|PREVID|ORDERID)"
    rf"|Audit_(?:Old|New|Delta|Flag)_{NAME}|{NAME}(?:(?:___|\.){NAME})+"
)
REFUSAL = re.compile(r"[1-5]\d\d(?: \[\d{4}\])? (?:text|object|XML|HTML|JSON|plain|empty):?")
STEPS = {*(step.value for step in Step), "settings", "totals"}
KINDS = {failure.name for failure in Failure} | {"other"}
SHAPE = {"name", "namespace_id", "magnitude", "refused", "sets", "namespace", "alias", "container"}


def report_of(run_cli: RunCli, folder: Path, config: dict[str, Any], *options: str) -> Report:
    """Make a report of a tenant, whose steps are as they should be."""
    path = folder / "report.json"
    result = run_cli(config, "--report", str(path), *options)
    assert result.returncode == 0, result.stdout + result.stderr
    return read_report(path)


def read_report(path: Path) -> Report:
    report: Report = json.loads(path.read_text("utf-8"))
    return report


def answers(report: Report) -> dict[str, dict[str, str]]:
    """Return the answers by question and part; of those that were seen."""
    found = {name: part for name, part in report["answers"].items() if name != "about"}
    return {
        name: {part: seen[1] for part, seen in parts.items() if seen[1:]}
        for name, parts in found.items()
    }


def verdicts(report: Report, verdict: str) -> set[tuple[str, str]]:
    """Return the questions and parts with a verdict."""
    found = ((name, parts) for name, parts in report["answers"].items() if name != "about")
    return {(name, part) for name, parts in found for part, it in parts.items() if it[0] == verdict}


def flaws(report: Report) -> Iterator[object]:
    """Return all that a report must not have: what is on no list, and no stand-in."""
    sections = {"answers", "models", "steps", "changes", "report_version", "tap"}
    yield from {*report} - sections
    for name, text in report["steps"].items():
        kinds = "|".join(sorted(KINDS))
        if name != "about" and not (
            name in STEPS and re.fullmatch(rf"ok|FAILED ({kinds})( \d\d\d)?( \[\d{{4}}\])?", text)
        ):
            yield name, text
    questions = {question.name: question for question in QUESTIONS}
    for name, parts in report["answers"].items():
        for part, seen in parts.items() if name != "about" else ():
            question = questions[name]
            if part not in question.parts or seen[0] not in VERDICTS or len(seen) > 2:
                yield name, part, seen
            yield from (text for text in seen[1:] if not is_answer(text, question.words.split()))
    for model in report["models"]["list"]:
        yield from {*model} - SHAPE
        yield from flaws_of_shape(model)


VERDICTS = {"as believed", "otherwise", "seen", "not seen"}


def is_answer(text: str, words: list[str]) -> bool:
    """Return whether an answer is a number, a refusal, or of the closed list of a question."""
    if found := REFUSAL.match(text):
        return all(word in {*grammar.MESSAGE, "..."} for word in text[found.end() :].split())
    known = {*words, *grammar.HEADERS, *grammar.NAMES, *grammar.TYPES, *grammar.VALUES}
    return all(word in known or re.fullmatch(r"\d{1,6}", word) for word in text.split())


def flaws_of_shape(model: Report) -> Iterator[object]:
    if not re.fullmatch(r"Model\d+", model["name"]):
        yield model["name"]
    for part in ("namespace", "alias", "container"):
        if model.get(part, "other") not in grammar.VALUES:
            yield model[part]
    if "refused" in model and not is_answer(model["refused"], []):
        yield model["refused"]
    if not isinstance(model.get("magnitude", 0), int) or model.get("magnitude", 0) > 10:
        yield model["magnitude"]
    for item in model.get("sets", ()):
        yield from {*item} - {"name", "key", "columns", "type", "set"}
        columns = [column.split() for column in item.get("columns", ())]
        names = [item["name"], *item.get("key", ()), *(words[0] for words in columns)]
        yield from (name for name in names if not COMPOSED.fullmatch(name))
        terms = [*item.get("type", ()), *item.get("set", ())]
        terms += [word for _, _, *words in columns for word in words]
        yield from (words[1] for words in columns if words[1] not in {*grammar.TYPES, "other"})
        for term in terms:
            name, _, value = term.partition("=")
            is_known = name in {*grammar.TERMS, *grammar.FACETS, "other"}
            if not (is_known and (not value or value in grammar.VALUES or value.isdigit())):
                yield term
