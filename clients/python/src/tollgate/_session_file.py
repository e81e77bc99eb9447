"""A session's file, as the command `tollgate` keeps it: readable to its owner alone, replaced whole, refreshed by one process at a time."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ._bases import ConfigurationError
from ._secret import Secret, is_sendable
from ._session import Tokens

# How long a refresh of another process is waited for: longer than one can take.
LOCK_WITHIN = 40.0
LOOK_AGAIN_AFTER = 0.02
MOST_BYTES = 64 << 10


class SessionFile:
    """The file. Beside it stands an empty one, `.lock`, that whoever refreshes holds locked."""

    def __init__(self, path: Path) -> None:
        if sys.platform == "win32":
            raise ConfigurationError("the Python client keeps no session file on Windows: use an API key, or Tollgate.login()")
        # A link stays one: what it leads to is replaced.
        self.path = Path(os.path.realpath(path))
        #: What else the file says, which stays in it.
        self.auth_url: Optional[str] = None

    def refuse(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the session file {self.path} can't be used: {why}")

    def load(self) -> Optional[Tokens]:
        """The session; None when there is no file."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.refuse(error.strerror or "it can't be opened") from None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise self.refuse("it is no file")
            if status.st_uid != os.geteuid():
                raise self.refuse("it is another user's, who could have put any session there")
            if status.st_mode & 0o077:
                raise self.refuse("others than its owner may open it, and may have: log in again, and keep it at mode 600")
            tokens = self.parsed(os.read(handle, MOST_BYTES + 1))
        finally:
            os.close(handle)
        if tokens is None:
            raise self.refuse("it holds no session: log in again")
        return tokens

    def parsed(self, data: bytes) -> Optional[Tokens]:
        try:
            found = json.loads(data) if len(data) <= MOST_BYTES else None
        except ValueError:
            return None
        if not isinstance(found, dict):
            return None
        session_id, access, refresh = (found.get(name) for name in ("session_id", "access_token", "refresh_token"))
        if not isinstance(session_id, str) or not isinstance(access, str) or not is_sendable(access):
            return None
        if refresh is not None and not (isinstance(refresh, str) and is_sendable(refresh)):
            return None
        auth_url = found.get("auth_url")
        self.auth_url = auth_url if isinstance(auth_url, str) else None
        expires_at, refresh_expires_at, refresh_at = (
            found[name] / 1000 if isinstance(found.get(name), int) else None
            for name in ("expires_at_ms", "refresh_expires_at_ms", "refresh_at_ms")
        )
        return Tokens(session_id, Secret(access), expires_at, Secret(refresh) if refresh else None, refresh_expires_at, refresh_at)

    def lock(self) -> Lock:
        """Waits until nobody else refreshes."""
        return Lock(self.path.with_name(self.path.name + ".lock"), self)

    def save(self, tokens: Tokens) -> None:
        """Written whole under another name and then renamed: whoever reads meanwhile finds the old session or the new one."""
        draft = self.path.with_name(f".tollgate-session-{uuid.uuid4()}")
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(handle, "w", encoding="utf-8") as opened:
                json.dump(self.text(tokens), opened)
                opened.write("\n")
                opened.flush()
                os.fsync(handle)
            os.replace(draft, self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise self.refuse(error.strerror or "it can't be written") from None

    def text(self, tokens: Tokens) -> Dict[str, Any]:
        def ms(at: Optional[float]) -> Optional[int]:
            return None if at is None else round(at * 1000)

        return {
            "session_id": tokens.session_id,
            "access_token": tokens.access.expose(),
            "expires_at_ms": ms(tokens.expires_at),
            "refresh_token": tokens.refresh.expose() if tokens.refresh else None,
            "refresh_expires_at_ms": ms(tokens.refresh_expires_at),
            "refresh_at_ms": ms(tokens.refresh_at),
            **({"auth_url": self.auth_url} if self.auth_url else {}),
        }

    def remove(self, session_id: str) -> None:
        """Removes the file if it has this session."""
        with self.lock():
            kept = self.load()
            if kept and kept.session_id == session_id:
                self.path.unlink(missing_ok=True)


class Lock:
    """Held while it is open; given back by a crash too."""

    def __init__(self, path: Path, file: SessionFile) -> None:
        import fcntl

        self.handle = -1
        began = time.monotonic()
        try:
            self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            while True:
                try:
                    fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    if time.monotonic() - began > LOCK_WITHIN:
                        raise file.refuse("another process holds its lock") from None
                    time.sleep(LOOK_AGAIN_AFTER)
        except OSError as error:
            self.close()
            raise file.refuse(error.strerror or "its lock can't be had") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def taken_from(file: SessionFile, mine: Tokens) -> Tuple[Optional[Tokens], bool]:
    """What another program got meanwhile, if it did; and whether the file is still this session's own, to be saved into."""
    stored = file.load()
    if stored is None:
        return None, True
    if stored.session_id != mine.session_id:
        # A session of somebody else, in the same place, is not ours to go on with.
        return None, False
    return (stored if stored.refresh != mine.refresh else None), True
