"""A small real disk, ext4 on a loop device, that can be filled up or made to fail. Only root may mount one."""

import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_BALLAST = ".ballast"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """The file system of `image`, mounted at `folder`."""

    image: Path
    folder: Path

    def mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.folder))

    def fill(self) -> None:
        """Not a byte is left."""
        with (self.folder / _BALLAST).open("wb", buffering=0) as file:
            for size in (2**20, 2**10, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def empty(self) -> None:
        (self.folder / _BALLAST).unlink()

    def fail(self) -> None:
        """The kernel meets an error and makes the disk read-only at once, files that are open for writing included."""
        device = _run("findmnt", "--noheadings", "--output=SOURCE", str(self.folder)).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        gc.collect()  # a label store that nobody holds any more still has its catalog open
        _run("umount", str(self.folder))
        subprocess.run(["e2fsck", "-f", "-y", str(self.image)], check=False, capture_output=True)
        self.mount()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Skips the test where none can be made."""
    disk = SmallDisk(folder / "disk.img", folder / "disk")
    disk.folder.mkdir()
    try:
        disk.image.touch()
        os.truncate(disk.image, megabytes * 2**20)
        _run("mkfs.ext4", "-q", "-m", "0", str(disk.image))
        disk.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this test fills and breaks a disk of its own, which only root may mount: {error}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
