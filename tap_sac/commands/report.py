"""``--report``: writes how a tenant answers, without any data of the company."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tap_sac.commands.check import MOST_MODELS, Found, check
from tap_sac.commands.report_changes import try_changes
from tap_sac.report.grammar import is_of_grammar, magnitude, refusal
from tap_sac.report.questions import QUESTIONS, VERDICTS
from tap_sac.report.scene import Scene
from tap_sac.sac.errors import ResponseError, SACError
from tap_sac.safety.files import replace_file
from tap_sac.safety.text import log_safe, plural
from tap_sac.safety.waiting import deferred_signals
from tap_sac.singer.messages import MessageWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_sac.commands.check import CheckedTap
    from tap_sac.report.questions import Answers

Section = dict[str, Any]

_STDOUT = "-"
_ISSUES = "https://github.com/tap-sac/tap-sac/issues"
MOST_REQUESTS = 180  # of 200; tokens and deleting a subscription need the others
MOST_SECONDS = 120
_VERSION = 1
_MOST_LINES, _MOST_LEVELS, _WIDTH = 1_900, 7, 100
_ABOUT = {
    "answers": "Whether an answer is the one that the tap expects, and what it was.",
    "models": "The shape of each model: names are stand-ins, and magnitude is a power of ten.",
    "steps": "The steps of tap-sac --check, and how one of them failed.",
}
_OF_LAYOUT = """
about alias columns container FAILED key list magnitude name namespace namespace_id ok other
providers refused report_version rows set sets settings subject subscriptions tap token totals type
"""
_WORDS = {
    *VERDICTS,
    *chain(*_ABOUT.items()),
    *chain(*((question.name, *question.parts, *question.words.split()) for question in QUESTIONS)),
    *_OF_LAYOUT.split(),
}


class Report:
    """A report that is being made.

    Attributes:
        found: The results of the steps of the check.
        scene: What the questions are asked about; None before they are asked.
        seen: The answers, by question and part.
    """

    def __init__(self, *, with_changes: bool = False) -> None:
        """Start the clock: the time for a report is limited."""
        self.found = Found(most_models=MOST_MODELS, most_requests=MOST_REQUESTS)
        self.scene: Scene | None = None
        self.seen: dict[str, Answers] = {}
        self._with_changes = with_changes
        self._until = time.monotonic() + MOST_SECONDS

    def check_and_ask(self, tap: CheckedTap, print_line: Callable[[str], None]) -> int:
        """Run `check`, and ask all questions; returns the exit code of the check."""
        code = check(tap, print_line, self.found)
        self._ask()
        if self._with_changes and self.scene:
            again = partial(tap.connect_to, tap.choice.settings.get("tenant_url") or "")
            try_changes(self.scene, print_line, again)
        return code

    def _ask(self) -> None:
        """Ask all questions, if there is a token; after the time limit, use what is known."""
        asker = self.found.asker
        if asker is None or asker.client.authenticator.has_readable_token is None:
            return
        self.scene = Scene(asker, self.found.models)
        asker.asks_until = self._until
        self.scene.choose()
        for question in QUESTIONS:
            self.seen[question.name] = question.look(self.scene, question.parts)

    def text(self, version: str) -> str:
        """Return the report: only words of the grammar, in few enough lines to be read."""
        models = self._models()
        parts = {"answers": self._answers, "models": models, "steps": self._steps}
        found = {name: {"about": _ABOUT[name], **part} for name, part in parts.items()}
        number = version.partition("+")[0]  # A name chosen by the company may follow it.
        whole = {**_checked(found), "report_version": _VERSION, "tap": number}
        texts = (_layout(whole, levels) for levels in range(_MOST_LEVELS, 0, -1))
        return next(text for text in texts if text.count("\n") < _MOST_LINES)

    @property
    def _answers(self) -> Section:
        """The verdict on each answer, and the answer if there is one, by question and part."""
        found: Section = {}
        for name, _, _, parts, _ in QUESTIONS:
            seen = self.seen.get(name, {})
            pairs = ((part, it.verdict(seen.get(part))) for part, it in parts.items())
            found[name] = {part: [*filter(None, (it, seen.get(part)))] for part, it in pairs}
        return found

    @property
    def _steps(self) -> dict[str, str]:
        """The steps; a failed one with its kind of failure, and the status and number from SAC."""
        found = {}
        for step, error in self.found.steps.items():
            kind = error.failure.name if error and error.failure else "other"
            words = ["FAILED", kind] if error else ["ok"]
            if isinstance(error, ResponseError):
                number = [] if error.number is None else [f"[{error.number:04}]"]
                words += [str(error.status), *number]
            found[step] = " ".join(words)
        return found

    def _models(self) -> Section:
        """Describe the models in SAC's order, including those that it does not export."""
        scene, offer = self.scene, self.found.offer
        if scene is None or offer is None:
            return {"list": []}
        listed = (
            model
            for model in offer.listing.available
            if model in scene.models or model in offer.skipped
        )
        described, subject = [], {}
        for number, model in enumerate(islice(listed, MOST_MODELS), 1):
            namespace = scene.names.of(model.namespace_id, "Namespace")
            entry: Section = {"name": f"Model{number}", "namespace_id": namespace}
            answer = scene.asker.answers.get(("GET", scene.url(model, "$metadata")))
            if model in scene.sizes:
                entry["magnitude"] = magnitude(scene.sizes[model]) if scene.sizes[model] else -1
            if model in offer.skipped and answer:
                entry["refused"] = refusal(answer)
            described.append({**entry, **scene.shapes.get(model, {})})
            if model == scene.subject:
                subject = {"subject": entry["name"]}
        return {"list": described, **subject}


def report(path: str, run: Callable[..., int], version: str, *, with_changes: bool) -> int:
    """Write a report, even if a step fails or a signal ends the run.

    Args:
        path: The path of the file, or ``-`` for standard output.
        run: Gets a function that prints a line, and one with the parameters of `check`, which it
            calls; returns the exit code.
        version: The version of the tap.
        with_changes: Whether to also open a subscription to changes, and delete it.

    Raises:
        SACError: If the file cannot be written.
    """
    file = Path(path)
    is_file = file.is_file() or not file.exists()
    if path != _STDOUT and not (is_file and os.access(file.parent, os.W_OK)):
        msg = (
            f"The report cannot be written to {log_safe(path)}: name a file in a folder that you "
            "may write to, or - for standard output."
        )
        raise SACError(msg)
    tell = partial(click.echo, err=True) if path == _STDOUT else MessageWriter().write_line
    made = Report(with_changes=with_changes)
    try:
        return run(tell, made.check_and_ask)
    finally:
        with deferred_signals():
            text = made.text(version)
            if path != _STDOUT:
                _write(file, f"{text}\n")
        if path == _STDOUT:
            MessageWriter().write_line(text)
        else:
            lines = plural(text.count("\n") + 1, "line")
            tell(f"The report is in {log_safe(path)} ({lines}).")
        tell(
            "The report describes SAC's answers and the shapes of your models, without names, "
            f"values or row counts. Read it, and attach it to an issue at {_ISSUES}."
        )


def _write(file: Path, text: str) -> None:
    try:
        replace_file(file, text)
    except OSError as error:
        msg = (
            f"The report cannot be written to {log_safe(str(file))} ({error.strerror}): free disk "
            "space, or name another file."
        )
        raise SACError(msg) from None


def _checked(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Return a value, with texts outside the grammar (there should be none) as `other`."""
    if isinstance(value, dict):
        return {_checked(name): _checked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_checked(item) for item in value]
    return value if isinstance(value, int) or is_of_grammar(value, _WORDS) else "other"


def _layout(value: object, levels: int, indent: str = "\n") -> str:
    """Write sorted JSON; short values, and those below so many levels, are on one line."""
    line = json.dumps(value, sort_keys=True)
    if not levels or len(line) + len(indent) <= _WIDTH or not isinstance(value, (dict, list)):
        return line
    deeper = f"{indent}  "
    names = [f"{json.dumps(name)}: " for name in sorted(value)] if isinstance(value, dict) else []
    values = [value[name] for name in sorted(value)] if isinstance(value, dict) else value
    items = [_layout(item, levels - 1, deeper) for item in values]
    body = f",{deeper}".join(map("".join, zip_longest(names, items, fillvalue="")))
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}{deeper}{body}{indent}{end}"
