"""The report on a generation: what its labels are, beside those of the generation it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.body import BodyFileError
from pipeline.body.gendered_skel import load_skels
from pipeline.labels import Generation, LabelStore, Lineage, NoSuchGenerationError
from pipeline.labels.files.genders import genders_known
from pipeline.labels.files.layout import report_file
from pipeline.labels.inspecting import inspection
from pipeline.labels.inspecting.inspection import lineage_table
from pipeline.report.alarms import alarms
from pipeline.report.distributions import distribution_section, joint_section
from pipeline.report.figures import LabelFigures
from pipeline.report.measuring import Measured, measure
from pipeline.report.overlays import Overlays, draw_people, labels_of
from pipeline.report.page import Card, Page, PageTable, Section, Tile, render_page
from pipeline.report.people import ShownPerson
from pipeline.report.stages import stages
from pipeline.report.summary_tables import count_section, data_set_table, throughput_section
from pipeline.report.wording import what_changed
from schemas.gender import GENDERS, Gender, GenderChoice
from schemas.input_shard import InputShard

_PROBLEMS: Final = 8

_KINDS: Final = {
    "worst": ("Farthest from their keypoints", "The labels with the largest 2D error."),
    "most_changed": ("Moved most", "The labels whose joint angles changed most, mean over the 46."),
    "by_lot": ("Drawn by lot", "The same people in every report of this store, as long as they are labelled."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoSource:
    """Where the photos of a report's people may be, and the body files that pose their labels: those of the round, if
    nothing else is said.
    """

    shards: Sequence[InputShard] | None = None
    body_source: str | None = None


def round_report(store: LabelStore, round: int, against: int | None, photos: PhotoSource | None) -> bytes:
    """The HTML file. against: the generation to compare with; None: none. photos: None leaves the overlays out.

    Raises NoSuchGenerationError, LabelStoreError, OSError. Photos or a body that cannot be read are named in the page.
    """
    generation, lineage = store.generation(round), store.lineage(round)
    measured = measure(store, round, against)
    overlays = _overlays(store, lineage, against, measured, photos)
    found = alarms(measured) if against is not None else None
    page = Page(
        title=f"Labels of round {round}",
        subtitle=f"snapshot {generation.snapshot_id}, run {generation.run_id}, published "
        f"{generation.published:%Y-%m-%d %H:%M} UTC" + ("" if against is None else f"; compared with round {against}"),
        sentence=what_changed(generation, against, measured),
        tiles=_tiles(generation, measured),
        alarms=found,
        sections=tuple(
            section
            for section in (
                count_section(generation, measured, (f"round {against}", f"round {round}")),
                Section(title="Data sets", tables=(data_set_table(measured),)),
                distribution_section(measured, round, against),
                joint_section(measured, round, against),
                *_people_sections(measured, overlays),
                throughput_section(stages(store.storage, generation, lineage), generation),
                _lineage_section(store, round, lineage),
            )
            if section is not None
        ),
    )
    return render_page(page)


def write_round_report(store: LabelStore, round: int, against: int | None, photos: PhotoSource | None) -> str:
    """Write the report beside its generation; returns its path or URL. Raises as `round_report`."""
    generation = store.generation(round)
    other = None if against is None or against == round - 1 else store.generation(against).snapshot_id
    name = report_file(round, generation.snapshot_id, other)
    store.storage.write(name, round_report(store, round, against, photos))
    return store.storage.url(name)


def parent_round(store: LabelStore, round: int) -> int | None:
    """The generation that a report compares with unless told otherwise: the one before, where it is published."""
    try:
        store.generation(round - 1)
    except NoSuchGenerationError:
        return None
    return round - 1


def _overlays(
    store: LabelStore, lineage: Lineage, against: int | None, measured: Measured, photos: PhotoSource | None
) -> Overlays:
    if photos is None:
        return Overlays(problems=["no photos were asked for"])
    try:
        skels = load_skels(photos.body_source or lineage.body_source, _choice(lineage))
    except (BodyFileError, OSError) as error:
        return Overlays(problems=[f"no body to draw: {error}"])
    people = measured.people.ids()
    rounds = [lineage.round] if against is None else [against, lineage.round]
    labels = [(f"round {k}", labels_of(store.files(k), people)) for k in rounds]
    return draw_people(lineage.inputs if photos.shards is None else photos.shards, people, labels, skels)


def _choice(lineage: Lineage) -> GenderChoice:
    """The bodies that pose the labels of a generation."""
    known = genders_known(lineage)
    single: list[Gender] = [gender for gender in GENDERS if known == {gender}]
    return single[0] if single else "auto"


def _people_sections(measured: Measured, overlays: Overlays) -> list[Section]:
    """A card for each person, with the pictures that there are."""
    sections = []
    for kind, (title, text) in _KINDS.items():
        people: tuple[ShownPerson, ...] = getattr(measured.people, kind)
        cards = []
        for person in people:
            pictures = overlays.pictures.get(person.id, ())
            note = "" if pictures else "no photo"
            cards.append(Card(title=_name(person), facts=_facts(person), pictures=pictures, note=note))
        if cards:
            sections.append(Section(title=title, text=(text,), cards=tuple(cards)))
    if sections and overlays.problems:
        told = (*sections[0].text, "Not everybody is drawn: " + "; ".join(overlays.problems[:_PROBLEMS]))
        sections[0] = replace(sections[0], text=told)
    return sections


def _name(person: ShownPerson) -> str:
    dataset, shard, key, number = person.id
    return f"{dataset}/{shard}/{key} #{number}"


def _facts(person: ShownPerson) -> tuple[str, ...]:
    error = "no 2D error" if person.error_px is None else f"2D error {person.error_px:.1f} px"
    before = "" if person.before_px is None else f", {person.before_px:.1f} px before"
    moved = "" if person.changed_deg is None else f"; moved {person.changed_deg:.1f}°"
    return (f"{person.decision}: {error}{before}{moved}",)


def _tiles(generation: Generation, measured: Measured) -> tuple[Tile, ...]:
    new, old, changes = measured.everyone, measured.everyone_before, measured.every_change
    if new is None:
        return (Tile(name="people", value="0"),)

    def before(figure: str | None) -> str:
        return "" if figure is None else f"{figure} before"

    def px(figures: LabelFigures | None, name: str) -> str | None:
        value = None if figures is None else figures.quantile(name, 0.5)
        return None if value is None else f"{value:.2f} px"

    tiles = [
        Tile(name="people", value=f"{new.people:,}", note=before(None if old is None else f"{old.people:,}")),
        Tile(name="labelled", value=f"{new.labelled:,}", note=before(None if old is None else f"{old.labelled:,}")),
        Tile(name="2D error, median", value=px(new, "kp2d_error") or "-", note=before(px(old, "kp2d_error"))),
        Tile(
            name="on hidden keypoints, median",
            value=px(new, "kp2d_heldout_error") or "-",
            note=before(px(old, "kp2d_heldout_error")),
        ),
        Tile(
            name="joint angles beyond a limit",
            value=f"{int(new.outside.sum()):,}",
            note=before(None if old is None else f"{int(old.outside.sum()):,}"),
        ),
        Tile(name="rejections", value=f"{sum(generation.rejections.values()):,}"),
    ]
    if changes is not None and changes.people:
        moved = changes.turned.mean() or 0.0
        tiles.append(Tile(name="joints moved, mean", value=f"{moved:.2f}°", note=f"of {changes.people:,} people"))
    return tuple(tiles)


def _lineage_section(store: LabelStore, round: int, lineage: Lineage) -> Section:
    facts = lineage_table(lineage)
    chain = [
        (item.round, item.run_id, item.started, item.rows, item.checkpoint_uri, item.code_revision)
        for item in inspection.lineage(store, round)
    ]
    columns = ("round", "run", "started", "rows", "checkpoint", "code")
    return Section(
        title="Lineage",
        tables=(
            PageTable(title="From this round back to the first", columns=columns, rows=chain),
            PageTable(title="Facts", columns=facts.columns, rows=[[str(cell) for cell in row] for row in facts.rows]),
        ),
        folded=(("The whole configuration", lineage.config),),
    )
