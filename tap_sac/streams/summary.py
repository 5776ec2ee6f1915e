"""Sums up a run: in a sentence at its end, and in numbers for programs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tap_sac.safety.text import plural
from tap_sac.streams.reading import Changes, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_sac.streams.stream import SACStream

# The results of a table: in the structured log, and in the sentence.
_ENDS = {
    "proven": "counted and proven",
    "not_counted": "not counted",
    "unproven": "not proven",
    "updated": "updated by changes",
    "failed": "failed",
    "not_read": "not read",
}
_ENDS_OF_VERDICTS = {Verdict.PROVEN: "proven", Verdict.NOT_COUNTED: "not_counted"}


def sum_up(
    streams: Iterable[SACStream], *, skipped_models: int, seconds: float
) -> tuple[str, dict[str, float]]:
    """Sum up the selected streams of a run in a sentence and in numbers."""
    ends = [(stream, _end(stream)) for stream in streams if stream.selected]
    numbers = Counter(end for _, end in ends)
    read = [stream for stream, end in ends if end not in {"failed", "not_read"}]
    outcomes = [stream.found for stream in read if isinstance(stream.found, Outcome)]
    updates = [stream.found for stream in read if isinstance(stream.found, Changes)]
    rows = sum(outcome.rows - outcome.rows_of_earlier_run for outcome in outcomes)
    changes = Changes(
        sum(update.rows for update in updates), sum(update.deletions for update in updates)
    )
    files = sum(stream.files for stream, _ in ends)
    contents = [plural(rows, "row")] if outcomes or not updates else []
    contents += [changes.text()] if updates else []
    contents += [plural(files, "file")] if files else []
    told = [f"{numbers[end]:,} {text}" for end, text in _ENDS.items() if numbers[end]]
    parts = [", ".join(contents), ", ".join(told) or "no table is selected"]
    parts += [f"{plural(skipped_models, 'model')} skipped"] if skipped_models else []
    sentence = f"Read {plural(len(read), 'table')} in {seconds:,.1f} seconds: {'; '.join(parts)}."
    return sentence, {
        "tables": len(read),
        "rows": rows,
        "changes": changes.rows,
        "deletions": changes.deletions,
        "files": files,
        "seconds": round(seconds, 3),
        **{end: numbers[end] for end in _ENDS},
        "skipped_models": skipped_models,
    }


def _end(stream: SACStream) -> str:
    if stream.failure:
        return "failed"
    if stream.found is None or not stream.is_written:
        return "not_read"
    if isinstance(stream.found, Changes):
        return "updated"
    return _ENDS_OF_VERDICTS.get(stream.found.verdict, "unproven")
