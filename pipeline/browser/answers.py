"""What the addresses of the label browser answer: people, charts, pictures, bodies, reviews and downloads."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from pipeline.body import Skel
from pipeline.browser import charts, downloads, paging
from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.columns import CHOICES, COLUMNS
from pipeline.browser.filters import LIMITED, REVIEW_STATES, Filters
from pipeline.browser.generations import Generations
from pipeline.browser.locked_sql import LockedSql, QueryRefusedError
from pipeline.browser.paging import Order
from pipeline.browser.person_page import angles, neighbours, person_page
from pipeline.browser.photo_shelf import Kept, PhotoShelf
from pipeline.browser.pictures import LAYERS, SIZES, draw
from pipeline.browser.review_desk import ReviewDesk
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.reviews import Review, Verdict
from pipeline.labels.store import LabelStore
from pipeline.render.label_overlay import pose, skel_of
from schemas.gender import Gender
from schemas.person import PersonId

_MOST_CHARACTERS: Final = 1100  # of a name; keys of shards have at most 1024
_PICTURE_CACHE: Final = {"cache-control": "private, max-age=600"}


class BuildingError(Exception):
    """The index is being made: `done` of `total` shards."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__()
        self.done, self.total = done, total


class Browser:
    """What the addresses share. Handlers run in threads: DuckDB, the fits' body and the rasteriser release the GIL."""

    def __init__(
        self, store: LabelStore, shelf: PhotoShelf, skels: Mapping[Gender, Skel], config: BrowseConfig
    ) -> None:
        self._config = config
        self._skels = skels
        self._shelf = shelf
        self._generations = Generations(store, config)
        self._desk = ReviewDesk(store.storage, config.reviewer)
        self._pictures: Kept[tuple[object, ...], bytes] = Kept(config.pictures)
        self._facets: Kept[LockedSql, dict[str, list[str]]] = Kept(4)

    def rounds(self, request: Request) -> Response:
        """What there is to choose from."""
        found = self._generations.all()
        return json_answer(
            {
                "root": self._generations.store.storage.root,
                "reviewer": self._config.reviewer,
                "columns": [{"name": c.name, "kind": c.kind, "title": c.title} for c in COLUMNS],
                "choices": CHOICES,
                "angles": angles(),
                "limited": LIMITED,
                "review_states": REVIEW_STATES,
                "verdicts": list(Verdict),
                "layers": LAYERS,
                "rounds": [
                    {
                        "round": k,
                        "snapshot": str(item.snapshot_id),
                        "rows": item.rows,
                        "published": item.published.isoformat(timespec="minutes"),
                    }
                    for k, item in found.items()
                ],
            }
        )

    def facets(self, request: Request) -> Response:
        """The values that columns of choices have in A and B, the most frequent first."""
        sql = self._index(request)
        return json_answer(self._facets.get(sql, lambda: {name: _values(sql, name) for name in CHOICES}))

    def people(self, request: Request) -> Response:
        """A page of people."""
        sql, words = self._index(request), request.query_params
        found = paging.page(
            sql,
            Filters.read(words.multi_items()),
            Order.read(words),
            limit=_whole(words.get("limit", "48"), "limit"),
            after=words.get("after"),
            before=words.get("before"),
        )
        return json_answer(asdict(found))

    def count(self, request: Request) -> Response:
        """How many people the filters take, and how many there are."""
        sql = self._index(request)
        total = paging.count(sql, Filters())
        return json_answer({"count": paging.count(sql, Filters.read(request.query_params.multi_items())), "of": total})

    def histogram(self, request: Request) -> Response:
        sql, words = self._index(request), request.query_params
        return json_answer(asdict(charts.histogram(sql, Filters.read(words.multi_items()), words.get("x", ""))))

    def scatter(self, request: Request) -> Response:
        sql, words = self._index(request), request.query_params
        filters = Filters.read(words.multi_items())
        return json_answer(asdict(charts.scatter(sql, filters, words.get("x", ""), words.get("y", ""))))

    def person(self, request: Request) -> Response:
        """Everything about one person."""
        who = _who(request)
        page = person_page(self._generations, who)
        return json_answer(page | {"reviews": [_review(item) for item in self._desk.of(who)]})

    def video(self, request: Request) -> Response:
        """The person's frames, and its angles in them."""
        return json_answer(neighbours(self._generations, self._shelf, _who(request), self._pair(request)))

    def picture(self, request: Request) -> Response:
        """The person's crop as a JPEG, with layers of a round over it."""
        words, who = request.query_params, _who(request)
        size = _whole(words.get("size", "256"), "size")
        layers = frozenset(filter(None, words.get("layers", "").split(",")))
        if size not in SIZES or not layers <= set(LAYERS):
            raise QueryRefusedError(f"size: one of {SIZES}; layers: of {', '.join(LAYERS)}")
        round = None if not layers & {"skin", "bones"} else _whole(words.get("round", ""), "round")
        snapshot = None if round is None else self._generations.get(round).snapshot_id

        def make() -> bytes:
            photo, person = self._shelf.photo(who)
            label = None if round is None else self._generations.row(round, who)
            return draw(photo, person, label, layers, skel_of(label or {}, self._skels), size)

        data = self._pictures.get((who, snapshot, layers, size), make)
        return Response(data, media_type="image/jpeg", headers=_PICTURE_CACHE)

    def body(self, request: Request) -> Response:
        """Vertices of skin or bones of a label: float32, three a vertex, m, x right, y up, z to the viewer."""
        words, who = request.query_params, _who(request)
        label = self._label(who, words)
        label = {**label, "cam_t": [0.0, 0.0, 0.0]}  # both rounds about the same place: their depths differ by metres
        bones = words.get("part") == "bones"
        found = pose(label, skel_of(label, self._skels), bones=bones)
        points = found.bones if bones else found.skin
        if points is None:
            raise LookupError("this body has no bones")
        return Response((points * [1.0, -1.0, -1.0]).astype("<f4").tobytes(), media_type="application/octet-stream")

    def faces(self, request: Request) -> Response:
        """Triangles of skin or bones of the body that a label belongs to: uint32, three a triangle."""
        words = request.query_params
        skel = skel_of(self._label(_who(request), words), self._skels)
        bones = words.get("part") == "bones"
        if bones and skel.arrays.skeleton is None:
            raise LookupError("this body has no bones")
        data = np.ascontiguousarray((skel.skeleton_faces if bones else skel.faces).numpy()).astype("<u4").tobytes()
        return Response(data, media_type="application/octet-stream", headers=_PICTURE_CACHE)

    def _label(self, who: PersonId, words: Mapping[str, str]) -> dict[str, Any]:
        """Raises LookupError for a person without a label in the round."""
        label = self._generations.row(_whole(words.get("round", ""), "round"), who)
        if label is None or not label["has_label"]:
            raise LookupError("there is no label in this round")
        return label

    def review(self, request: Request, body: dict[str, Any]) -> Response:
        """Store a review."""
        fields = {name: body.get(name) for name in ("dataset", "shard", "key", "verdict", "note")}
        if not all(isinstance(value, str) for value in fields.values()):
            raise QueryRefusedError("a review has dataset, shard, key, verdict and note as text")
        person, round = body.get("person"), body.get("round")
        if type(person) is not int or type(round) is not int:
            raise QueryRefusedError("a review has person and round as whole numbers")
        who = PersonId(str(fields["dataset"]), str(fields["shard"]), str(fields["key"]), person)
        if self._generations.row(round, who) is None:
            raise QueryRefusedError(f"round {round} has no row of this person")
        review = self._desk.write(who, self._generations.get(round), str(fields["verdict"]), str(fields["note"]))
        return json_answer(_review(review), status=201)

    def reviews(self, request: Request) -> Response:
        """Everybody's reviews, oldest first."""
        return json_answer([_review(item) for item in self._desk.all().values()])

    def download(self, request: Request) -> Response:
        """The filtered people as a file."""
        form = request.path_params["form"]
        if form not in downloads.FORMATS:
            raise QueryRefusedError(f"{form!r}: one of {', '.join(downloads.FORMATS)} expected")
        sql, words = self._index(request), request.query_params
        filters, order = Filters.read(words.multi_items()), Order.read(words)
        match form:
            case "csv":
                chunks = downloads.csv(sql, filters, order)
            case "parquet":
                chunks = downloads.parquet(sql, filters, order)
            case _:
                chunks = downloads.shards(sql, filters, self._shelf)
        name = "shards.txt" if form == "shards" else f"people.{form}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        # The first chunk now: what is wrong with the query is then an answer, and not a file cut short.
        return StreamingResponse(_first_now(chunks), media_type=downloads.FORMATS[form], headers=headers)

    def _pair(self, request: Request) -> tuple[int, int]:
        words = request.query_params
        return _whole(words.get("a", ""), "a"), _whole(words.get("b", ""), "b")

    def _index(self, request: Request) -> LockedSql:
        """Raises BuildingError while it is being made."""
        work = self._generations.index(*self._pair(request))
        if work.error is not None:
            raise LabelStoreError(work.error)
        if work.sql is None:
            raise BuildingError(work.done, work.total)
        self._desk.show_in(work.sql)
        return work.sql


def json_answer(content: object, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    return JSONResponse(_finite(content), status_code=status, headers={"cache-control": "no-store"})


def _finite(value: object) -> object:
    """JSON knows no NaN; text that is no Unicode would end the answer midway."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _first_now(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    return itertools.chain([first], chunks)


def _values(sql: LockedSql, name: str) -> list[str]:
    rows = sql.rows(
        f"SELECT {name} FROM people WHERE {name} IS NOT NULL GROUP BY {name} ORDER BY count(*) DESC, {name} LIMIT 200"
    )
    return [str(row[0]) for row in rows]


def _who(request: Request) -> PersonId:
    words = request.query_params
    dataset, shard, key = (words.get(name, "") for name in ("dataset", "shard", "key"))
    if any(not name or len(name) > _MOST_CHARACTERS for name in (dataset, shard, key)):
        raise QueryRefusedError("dataset, shard, key and person name a person")
    return PersonId(dataset, shard, key, _whole(words.get("person", ""), "person"))


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise QueryRefusedError(f"{name}={text!r}: a whole number expected")
    return int(text)


def _review(review: Review) -> dict[str, object]:
    words: dict[str, object] = {**asdict(review)}
    return words | {
        "time": review.time.isoformat(timespec="seconds"),
        "snapshot_id": str(review.snapshot_id),
        "verdict": review.verdict.value,
    }
