"""Names of result files from keys that may hold anything: slashes, dots, any script, a thousand characters."""

import hashlib
from typing import Final
from urllib.parse import quote

_MAX_BYTES: Final = 200  # file systems stop at 255, and an ending is still to come
_DIGEST: Final = 16


def safe_name(text: str) -> str:
    """`text` percent-encoded as one file or folder name, which nothing takes for a path, a hidden file or a glob.

    Different texts keep different names; one too long keeps its beginning and ends in a digest of the whole.
    """
    name = quote(text, safe="")
    if name.startswith("."):  # also "." and ".."
        name = "%2E" + name[1:]
    if not name:
        return "%"
    if len(name) <= _MAX_BYTES:
        return name
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_DIGEST).hexdigest()
    return f"{name[: _MAX_BYTES - len(digest) - 2]}%~{digest}"  # a percent sign that quote() never writes
