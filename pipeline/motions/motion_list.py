"""Which motion files a conversion is of: files, folders, patterns, on a disk or in a bucket."""

import glob
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.export.file_names import safe_name
from pipeline.motions.errors import MotionFileError
from pipeline.motions.motion_actor import MotionTask
from pipeline.storage.opening import open_storage

ENDINGS: Final = (".npz", ".pkl")


def list_motions(sources: Sequence[str]) -> list[MotionTask]:
    """A task for every .npz and .pkl in folders (with what is below them), by patterns, and by their names, sorted.

    Names keep the folders below the one that was given. Raises MotionFileError where a source has none, or two files
    would be called the same.
    """
    tasks: dict[str, MotionTask] = {}
    for source in sources:
        found = _in_source(source)
        if not found:
            raise MotionFileError(
                f"{source}: there is no {' or '.join(ENDINGS)} file. Name a file, a folder or a pattern."
            )
        for address, name in found:
            task = MotionTask(address=address, name="/".join(safe_name(part) for part in PurePosixPath(name).parts))
            if tasks.setdefault(task.name, task) != task:
                both = f"{address} and {tasks[task.name].address}"
                raise MotionFileError(f"{both} would both become {task.name}. Convert them into two folders.")
    return [tasks[name] for name in sorted(tasks)]


def _in_source(source: str) -> list[tuple[str, str]]:
    """(address, name without ending) of each file."""
    if source.startswith("s3://") and not source.endswith(ENDINGS):
        storage = open_storage(source)
        return [(storage.url(f.name), _stem(f.name)) for f in storage.walk() if f.name.endswith(ENDINGS)]
    if source.startswith("s3://"):
        return [(source, _stem(source.rpartition("/")[2]))]
    path = Path(source).expanduser()
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.suffix in ENDINGS and file.is_file()]
        return [(str(file), _stem(file.relative_to(path).as_posix())) for file in files]
    return [(file, _stem(Path(file).name)) for file in glob.glob(str(path)) if file.endswith(ENDINGS)]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
