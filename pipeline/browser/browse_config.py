"""What the label browser can be told."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.runtime.config import BodyConfig, DataConfig, StorageConfig

MIN_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowseConfig:
    """host, port: where the page is served; port 0: any free one. A host that is not this machine alone needs a token.
    token: what every visitor must show, by `?token=...` once or as a bearer. name: by which others reach this host, as
    it stands in their address bars (default: host). reviewer: whose reviews this server writes; without one it writes
    none. cache: folder of the indexes, one file for each pair of generations. threads, memory, seconds: limits of the
    SQL of a page. pictures: how many drawn overlays are kept in memory.

    Raises ValueError, naming the setting, for values that cannot be used.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    name: str | None = None
    token: str | None = None
    reviewer: str | None = None
    cache: str = "~/.cache/skel-label-rounds/browse"
    threads: int = 2
    memory: str = "2GB"
    seconds: float = 10.0
    pictures: int = 2000

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < MIN_TOKEN_CHARACTERS:
            raise ValueError(f"browse.token has {len(self.token)} characters; at least {MIN_TOKEN_CHARACTERS} expected")
        if not self.is_local and self.token is None:
            raise ValueError(
                f"browse.host={self.host} is seen by other machines: set browse.token to a secret of at least "
                f"{MIN_TOKEN_CHARACTERS} characters, or leave browse.host=127.0.0.1 and use an ssh tunnel"
            )
        if not 0 <= self.port < 65536:
            raise ValueError(f"browse.port={self.port}: 0 to 65535 expected")
        if self.threads < 1 or self.seconds <= 0 or self.pictures < 1:
            raise ValueError("browse.threads, browse.seconds and browse.pictures must be positive")
        if self.reviewer is not None and not (self.reviewer.isprintable() and 0 < len(self.reviewer.strip()) <= 100):
            raise ValueError("browse.reviewer must be 1 to 100 printable characters")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the host."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def cache_folder(self) -> Path:
        return Path(self.cache).expanduser()


@dataclass(frozen=True, kw_only=True)
class BrowserConfig:
    """All settings of the command. data.shards: where the photos lie now, if not where the lineage says."""

    storage: StorageConfig = field(default_factory=StorageConfig)
    data: DataConfig = field(default_factory=DataConfig)
    body: BodyConfig = field(default_factory=BodyConfig)
    browse: BrowseConfig = field(default_factory=BrowseConfig)
