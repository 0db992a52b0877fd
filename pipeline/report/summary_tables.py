"""The chapters of counts: decisions and rejections, data sets, and how long the round took."""

from collections import Counter

from pipeline.labels import Generation
from pipeline.report.alarms import refused_people
from pipeline.report.charts import AFTER, BEFORE, Chart, bars, curves
from pipeline.report.figures import LabelFigures
from pipeline.report.measuring import Measured
from pipeline.report.page import Cell, PageTable, Section
from pipeline.report.stages import Stages


def count_section(generation: Generation, measured: Measured, names: tuple[str, str]) -> Section:
    """What the round did with people, where their labels started, their cameras, and what was refused.

    names: of the generation before, and of this one.
    """
    new, old = measured.everyone, measured.everyone_before
    charts: list[Chart] = []
    if new is not None:
        for title, name in (
            ("Decisions of the round", "decisions"),
            ("Where labels started from", "starts"),
            ("Cameras of the labels", "cameras"),
        ):
            charts.append(_counted(title, getattr(new, name), None if old is None else getattr(old, name), names))
    if generation.rejections:
        before = None if measured.refused_before is None else sum(measured.refused_before.values(), Counter())
        charts.append(_counted("Reasons of rejections", Counter(generation.rejections), before, names))
    text = () if generation.rejections else ("Nothing was rejected.",)
    return Section(title="Counts", text=text, charts=tuple(charts), tables=_rejection_tables(measured))


def _counted(title: str, new: Counter[str], old: Counter[str] | None, rounds: tuple[str, str]) -> Chart:
    names = sorted({*new, *(old or ())}, key=lambda name: (-new[name], name))
    series = [] if old is None else [(rounds[0], BEFORE, [old[name] for name in names])]
    return bars(title, names, [*series, (rounds[1], AFTER, [new[name] for name in names])])


def _rejection_tables(measured: Measured) -> tuple[PageTable, ...]:
    if measured.refused is None:
        return ()
    rows: list[list[Cell]] = []
    for name, reasons in sorted(measured.refused.items()):
        before = None if measured.refused_before is None else measured.refused_before.get(name, Counter())
        for reason in sorted({*reasons, *(before or ())}):
            rows.append([name, reason, reasons[reason], None if before is None else before[reason]])
    columns = ("data set", "reason", "rejections", "before")
    return (PageTable(title="Rejections", columns=columns, rows=rows),) if rows else ()


def data_set_table(measured: Measured) -> PageTable:
    """A row for each data set. Errors in px of the 256 px crop."""
    rows = [
        _data_set_row(name, measured) for name in sorted({*measured.after, *measured.before, *(measured.refused or ())})
    ]
    columns = ("data set", "people", "before", "labelled", "median 2D error px", "before", "p95 px", "before",
               "hidden keypoints px", "joints moved °", "beyond a limit", "rejections", "before")  # fmt: skip
    return PageTable(title="Per data set", columns=columns, rows=rows)


def _data_set_row(name: str, measured: Measured) -> list[Cell]:
    new, old, changes = measured.after.get(name), measured.before.get(name), measured.changes.get(name)

    def px(figures: LabelFigures | None, measure: str, share: float) -> float | None:
        value = None if figures is None else figures.quantile(measure, share)
        return None if value is None else round(value, 2)

    def rejections(refused: Counter[str] | None) -> int | None:
        return None if refused is None else refused_people(refused)

    moved = None if changes is None else changes.turned.mean()
    empty: Counter[str] = Counter()
    return [
        name,
        0 if new is None else new.people,
        None if old is None else old.people,
        0 if new is None else new.labelled,
        px(new, "kp2d_error", 0.5),
        px(old, "kp2d_error", 0.5),
        px(new, "kp2d_error", 0.95),
        px(old, "kp2d_error", 0.95),
        px(new, "kp2d_heldout_error", 0.5),
        None if moved is None else round(moved, 2),
        0 if new is None else int(new.outside.sum()),
        rejections(None if measured.refused is None else measured.refused.get(name, empty)),
        rejections(None if measured.refused_before is None else measured.refused_before.get(name, empty)),
    ]


def throughput_section(found: Stages, generation: Generation) -> Section:
    """How long each stage took and how many people a second were labelled."""
    total = sum(seconds for _, seconds in found.seconds)
    text = [f"{generation.rows:,} people in {total:,.0f} s: {generation.rows / total:,.1f} a second." if total else ""]
    if found.earlier:
        text.append(f"{found.earlier:,} shards had been staged by an earlier attempt and were taken over.")
    if found.staged is None:
        text.append("When each shard was staged is not known: the files of this store are copies.")
    rows = [[name, round(seconds, 1), round(100 * seconds / total, 1) if total else None]
            for name, seconds in found.seconds]  # fmt: skip
    table = PageTable(title="Time per stage", columns=("stage", "seconds", "% of all"), rows=rows,
                      note="By the times of the staged files; lineages state whole seconds.")  # fmt: skip
    charts = ()
    if found.staged is not None and len(found.staged) > 2:
        points = [(seconds, 100 * share) for seconds, share in found.staged]
        charts = (curves("Shards staged, %", "seconds since the start", {"staged": points}),)
    return Section(title="Throughput", text=tuple(filter(None, text)), charts=charts, tables=(table,))
