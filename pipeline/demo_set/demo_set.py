"""A self-made data set with known truth: shards as HMR2 and HSMR read them, and the truth in a file beside them."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.body import Skel, load_skel
from pipeline.demo_set.population import Population, body_map, make_population
from pipeline.demo_set.records import photo_sample
from pipeline.demo_set.scene import take_photo
from pipeline.demo_set.surroundings import PLACES, load_surroundings
from pipeline.runtime.progress_bar import ConsoleBar
from pipeline.shards import RawSample, write_shard
from schemas.arrow_types import float_vector
from schemas.skel import N_BETAS, N_Q

MAX_PEOPLE_PER_PHOTO: Final = 3
_MARKER: Final = "demo_set.json"
_TRUTH: Final = "truth.parquet"
_DECISIVE: Final = frozenset({".py", ".json", ".npz", ".jpg"})


TRUTH_SCHEMA: Final = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("person", pa.int32(), nullable=False),
        pa.field("q", float_vector(N_Q), nullable=False),
        pa.field("betas", float_vector(N_BETAS), nullable=False),
        pa.field("cam_t", float_vector(3), nullable=False),
        pa.field("focal", pa.float64(), nullable=False),
        pa.field("camera_turn", float_vector(3), nullable=False),
    ]
)
"""q rad and cam_t m in the person's true crop camera, whose focal and camera_turn are as in the label tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSet:
    """A finished set. `shard_pattern` goes into data.shards; `truth_path` is a Parquet file of TRUTH_SCHEMA."""

    directory: Path
    shards: int
    people: int

    @property
    def shard_pattern(self) -> str:
        """The shards as one brace pattern."""
        return str(self.directory / f"{{{_shard_name(0)}..{_shard_name(self.shards - 1)}}}.tar")

    @property
    def truth_path(self) -> Path:
        """One row per person: who it is, its true q, betas and cam_t, and the camera these hold for."""
        return self.directory / _TRUTH


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """All that decides the content of a set; equal settings mean equal sets."""

    people: int
    shards: int
    seed: int
    body: str
    code: str


def make_demo_set(
    directory: str | Path,
    people: int = 240,
    shards: int = 4,
    seed: int = 0,
    *,
    skel: Skel | None = None,
    progress: bool = False,
) -> DemoSet:
    """Make the set in `directory`, or return at once when the finished directory was made with the same settings.

    The directory's name becomes the data set's name. It appears whole or not at all; an older demo set in its place is
    replaced. skel: default the open body. Raises ValueError for counts that do not fit, FileExistsError when
    `directory` holds anything but a demo set.
    """
    directory = Path(directory).absolute()
    if shards < 1 or people < MAX_PEOPLE_PER_PHOTO * shards:
        raise ValueError(f"people={people} in shards={shards}: expected at least 1 shard and 3 people a shard")
    skel = load_skel("open") if skel is None else skel
    settings = _Settings(people=people, shards=shards, seed=seed, body=skel.digest, code=_code_digest())
    found = _settings_in(directory)
    if found != asdict(settings):
        if found is None and directory.exists() and any(directory.iterdir()):
            raise FileExistsError(f"{directory} holds files that are no demo set; name an empty or a new directory")
        _replace(directory, settings, skel, progress)
    return DemoSet(directory=directory, shards=shards, people=people)


def _replace(directory: Path, settings: _Settings, skel: Skel, progress: bool) -> None:
    """Build beside the target and rename: a set that was killed half-way is never seen."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".unfinished", dir=directory.parent))
    try:
        fresh, old = workplace / "new", workplace / "old"
        fresh.mkdir()
        _write(fresh, directory.name, settings, skel, progress)
        if directory.exists():
            os.replace(directory, old)
        os.replace(fresh, directory)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


class _Drawing(ConsoleBar):
    """Context manager; `advance(people)` after each photo."""

    def __init__(self, people: int, *, shown: bool) -> None:
        super().__init__("demo set", "people", total=people, shown=shown)
        self._people, self._drawn = people, 0

    def advance(self, people: int) -> None:
        self._drawn += people
        line = f"{self._drawn}/{self._people} people"
        self.update(line, last=self._drawn == self._people, completed=self._drawn)


def _write(folder: Path, dataset: str, settings: _Settings, skel: Skel, progress: bool) -> None:
    groups = _group_people(np.random.default_rng([settings.seed, 1]), settings.people, settings.shards)
    photos = [people for shard in groups for people in shard]
    population, cameras = make_population(np.random.default_rng([settings.seed, 0]), skel, photos)
    camera_of = {people[0]: camera for people, camera in zip(photos, cameras, strict=True)}
    faces, clothes_map = skel.faces.cpu().numpy().astype(np.int64), body_map(skel)
    places = load_surroundings()

    def sample(people: list[int]) -> RawSample:
        rng, camera = np.random.default_rng([settings.seed, 2, people[0]]), camera_of[people[0]]
        photo = take_photo(rng, camera, [population.figure(person) for person in people], faces, clothes_map, places)
        labels = [population.labels.of(person) for person in people]
        return photo_sample(_key(people), photo, camera, labels, [population.places[person] for person in people])

    truth: list[pa.Table] = []
    with _Drawing(settings.people, shown=progress) as bar:
        for shard, members in enumerate(groups):
            name = _shard_name(shard)
            write_shard(str(folder / f"{name}.tar"), _drawn(members, sample, bar.advance))
            truth += [_truth_rows(population, dataset, name, people) for people in members]
    pq.write_table(pa.concat_tables(truth), folder / _TRUTH)
    (folder / _MARKER).write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")


def _drawn(
    photos: list[list[int]], sample: Callable[[list[int]], RawSample], tell: Callable[[int], object]
) -> Iterator[RawSample]:
    for people in photos:
        yield sample(people)
        tell(len(people))


def _truth_rows(population: Population, dataset: str, shard: str, people: list[int]) -> pa.Table:
    count = len(people)
    cameras = [population.places[person].camera for person in people]
    columns = [
        pa.array([dataset] * count),
        pa.array([shard] * count),
        pa.array([_key(people)] * count),
        pa.array(range(count), pa.int32()),
        *(_fixed(values[people]) for values in (population.q, population.betas, population.cam_t)),
        pa.array([camera.focal for camera in cameras]),
        _fixed(np.array([camera.turn for camera in cameras])),
    ]
    return pa.Table.from_arrays(columns, schema=TRUTH_SCHEMA)


def _fixed(rows: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=float_vector(rows.shape[1]))


def _group_people(rng: np.random.Generator, people: int, shards: int) -> list[list[list[int]]]:
    """shard -> photo -> people: photos of one person mostly, of two or three for the rest; shards of equal size."""
    shares = np.array_split(np.arange(people), shards)
    groups: list[list[list[int]]] = []
    for share in shares:
        photos, start = [], 0
        while start < len(share):
            size = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
            photos.append([int(person) for person in share[start : start + size]])
            start += size
        groups.append(photos)
    return groups


def _key(people: list[int]) -> str:
    return f"demo/{people[0]:05d}"


def _shard_name(shard: int) -> str:
    return f"{shard:06d}"


def _settings_in(directory: Path) -> dict[str, object] | None:
    """Settings of the finished set in the directory, None when there is none."""
    try:
        found = json.loads((directory / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _code_digest() -> str:
    """Of the code and data that decide what a set looks like, so that a set of an older version is made again."""
    sha = hashlib.sha256()
    folder = Path(__file__).parent
    folders = (folder, PLACES, folder.parent / "image", folder.parent / "render")
    found = [file for place in folders for file in place.iterdir() if file.suffix in _DECISIVE]
    for file in sorted(found):
        sha.update(file.name.encode() + file.read_bytes())
    return sha.hexdigest()[:16]
