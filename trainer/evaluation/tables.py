"""The tables of an evaluation: errors beside published ones, how each was measured, joints beyond their limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.evaluation.protocols import Measure
from trainer.evaluation.references import REFERENCES
from trainer.evaluation.summary import Result
from trainer.evaluation.violations import PARTS, TOLERANCES_DEG

_NOTHING = "-"
_SIZES = ("max", "mean", "median")
_OPEN_BODY = "Measured with the open body, which is not the licensed one: not to be compared with published figures."


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """header and rows: texts, the first column to the left. note: below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(results: Sequence[Result], *, open_body: bool) -> list[Table]:
    """All of them, in the order to print."""
    return [_accuracy(results, open_body), _settings(results), _violations(results)]


def _accuracy(results: Sequence[Result], open_body: bool) -> Table:
    columns = _columns(results)
    header = ["method"] + [
        f"{title} {measure.title}" + (f" {measure.unit}" if measure.unit else "") for _, title, measure in columns
    ]
    rows = []
    for reference in REFERENCES:
        figures = [reference.figures.get((dataset, measure.name)) for (_, dataset), _, measure in columns]
        if any(figure is not None for figure in figures):
            rows.append([reference.method, *_texts(figures, columns)])
    for method in dict.fromkeys(result.method for result in results):
        own = {result.source.label: result for result in results if result.method == method}
        figures = [own[label].measures.get(measure.name) for (label, _), _, measure in columns]
        rows.append([method, *_texts(figures, columns)])
    return Table(title="Errors", header=header, rows=rows, note=_OPEN_BODY if open_body else "")


Column = tuple[tuple[str, str], str, Measure]


def _columns(results: Sequence[Result]) -> list[Column]:
    """(label, data set), the title over it, measure."""
    sources = {result.source.label: result.source for result in results}
    return [
        ((label, source.dataset), _title(label, source.protocol.title), measure)
        for label, source in sources.items()
        for measure in source.protocol.measures
    ]


def _title(label: str, title: str) -> str:
    file = label.partition(":")[2]
    return f"{title} ({file})" if file else title


def _texts(figures: Sequence[float | None], columns: Sequence[Column]) -> list[str]:
    return [
        _NOTHING if figure is None else f"{figure:.{measure.digits}f}"
        for figure, (_, _, measure) in zip(figures, columns, strict=True)
    ]


def _settings(results: Sequence[Result]) -> Table:
    rows = [
        [
            result.method,
            _title(result.source.label, result.source.protocol.title),
            str(result.people),
            str(result.rejected),
            result.body,
            result.regressor,
            result.source.protocol.crop_text,
        ]
        for result in results
    ]
    header = ["method", "data set", "people", "rejected", "body and gender", "regressor", "crop"]
    return Table(title="How they were measured", header=header, rows=rows)


def _violations(results: Sequence[Result]) -> Table:
    rows = []
    for result in results:
        if not result.people:
            continue
        shares = [_listed([100 * result.violations[str(t)][part]["share"] for t in TOLERANCES_DEG]) for part in PARTS]
        sizes = [_listed([result.violations["0"][part][name] for name in _SIZES]) for part in PARTS]
        title = _title(result.source.label, result.source.protocol.title)
        rows.append([result.method, title, *shares, *sizes])
    parts = [part.replace("_", " ") for part in PARTS]
    return Table(
        title="Joints beyond their limits",
        header=["method", "data set", *(f"{part} %" for part in parts), *(f"{part} deg" for part in parts)],
        rows=rows,
        note=f"%: of people, beyond a limit by more than {' / '.join(map(str, TOLERANCES_DEG))} degrees; deg: by how "
        f"much, {' / '.join(_SIZES)} over all people. The largest angle of a joint; SMPL's are Euler angles, of both "
        "solutions the better.",
    )


def _listed(figures: Sequence[float]) -> str:
    return " / ".join(f"{figure:.1f}" for figure in figures)
