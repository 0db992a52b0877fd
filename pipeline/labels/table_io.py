"""How pyiceberg reads and writes its metadata: through the same S3 file system as the labels, retries included."""

from typing import Any

from pyiceberg.io.fsspec import FsspecFileIO

from pipeline.s3 import s3_filesystem


class LabelTableIO(FsspecFileIO):
    """pyiceberg's own S3 settings know no retries; its local files are as they were."""

    def _get_fs(self, scheme: str, hostname: str | None = None) -> Any:
        return s3_filesystem() if scheme == "s3" else super()._get_fs(scheme, hostname)
