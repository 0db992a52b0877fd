"""What the interpreter was asked to do while hostile input was read: nothing but to open the shard, to read it."""

import os
import sys

_REFUSED = frozenset(
    {
        *("compile", "exec", "import", "marshal.loads", "code.__new__", "function.__new__"),
        *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.putenv", "os.unsetenv"),
        *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"),
        *("subprocess.Popen", "socket.__new__", "socket.connect", "ctypes.dlopen", "ctypes.dlsym", "mmap.__new__"),
        *("shutil.rmtree", "shutil.move", "shutil.copyfile", "urllib.Request", "webbrowser.open"),
    }
)


class Watch:
    """Audit hook (PEP 578; one cannot be removed, only idled): what happens from `start` to `stop`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._allowed: str | None = None
        self._active = False
        sys.addaudithook(self._hook)

    def start(self, allowed: str | None = None) -> None:
        """From now on record; the file `allowed` may be opened, to read."""
        self.events.clear()
        self._allowed, self._active = allowed, True

    def stop(self) -> list[str]:
        self._active = False
        return list(self.events)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._active:
            return
        if event in _REFUSED or (event == "open" and not self._reads_the_shard(arguments)):
            self.events.append(f"{event} {arguments}"[:300])

    def _reads_the_shard(self, arguments: tuple[object, ...]) -> bool:
        path, _, flags = (*arguments, None, None, None)[:3]
        return path == self._allowed and isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


WATCH = Watch()
