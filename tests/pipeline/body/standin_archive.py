"""The stand-in body's arrays as files: as the original npz files hold them, and packed to under 1 MB, exactly.

`python -m tests.pipeline.body.standin_archive FROM TO` packs FROM/skel.npz and FROM/smpl.npz. The stand-in's vectors
are whole numbers of a power of two, so int8 and int32 hold them without loss (but for the sign of zeros); LZMA instead
of deflate does the rest.
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

Archive = dict[str, Any]

STEPS: Final = {"posedirs": (-13, np.int8), "shapedirs": (-19, np.int32)}
"""Array: the exponent e of its step, 2**e m, and the type that counts its steps."""

SAME_IN_SKEL: Final = {"v_template": "skin_template_v", "shapedirs": "shapedirs", "faces": "skin_template_f"}
"""Arrays of smpl.npz, by the name that they have in skel.npz."""


def read_archive(folder: Path) -> Archive:
    """The stand-in SKEL and SMPL of `folder`, packed or not, with the names of the open body's archive; float32."""
    skel, smpl = restored(load(folder / "skel.npz")), load(folder / "smpl.npz")
    weights = smpl["weights"]
    row, col = np.nonzero(weights)
    entries = {"row": row, "col": col, "data": weights[row, col], "shape": np.array(weights.shape)}
    own = {name: value for name, value in smpl.items() if name.startswith("J_regressor_")}
    own |= {f"smpl_weights_{part}": value for part, value in entries.items()}
    return skel | own | {"smpl_parents": smpl["parents"]}


def load(path: Path) -> Archive:
    """The arrays of one npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def packed(archive: Archive) -> Archive:
    """`archive` with the arrays of STEPS as whole numbers. Raises ValueError where that would lose anything."""
    counted = {}
    for name, (exponent, kind) in STEPS.items():
        counted[name] = np.ldexp(archive[name], -exponent).astype(kind)
        if not np.array_equal(np.ldexp(counted[name].astype(np.float32), exponent), archive[name]):
            raise ValueError(f"{name} is no multiple of 2**{exponent} within {kind.__name__}: change STEPS")
    return archive | counted


def restored(archive: Archive) -> Archive:
    """The inverse of `packed`; arrays that are floats already stay as they are."""
    counted = {n: e for n, (e, _) in STEPS.items() if archive[n].dtype.kind == "i"}
    return archive | {name: np.ldexp(archive[name].astype(np.float32), e) for name, e in counted.items()}


def write_archive(path: Path, archive: Archive) -> None:
    """An npz file with LZMA, which numpy reads like any other; the same bytes for the same arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as out:
        for name, array in archive.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            out.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def pack_folder(source: Path, target: Path) -> None:
    """Pack both files of `source`; what smpl.npz shares with skel.npz is left out of it."""
    skel, smpl = load(source / "skel.npz"), load(source / "smpl.npz")
    for name, same in SAME_IN_SKEL.items():
        if not np.array_equal(smpl.pop(name), skel[same]):
            raise ValueError(f"{name} of smpl.npz is not {same} of skel.npz: keep it in SAME_IN_SKEL's file")
    write_archive(target / "skel.npz", packed(skel))
    write_archive(target / "smpl.npz", smpl)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.body.standin_archive", description=__doc__)
    parser.add_argument("source", type=Path, help="folder with the original skel.npz and smpl.npz")
    parser.add_argument("target", type=Path, help="folder for the packed ones")
    options = parser.parse_args()
    pack_folder(options.source, options.target)
