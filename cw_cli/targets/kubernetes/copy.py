"""Files out of a container and into it: tar at the other end, Python's tarfile at this one."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

from cw_cli.core.exceptions import TargetError
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.exec import STDERR, STDOUT, Container, Session
from cw_cli.targets.kubernetes.refusals import ApiError

_LOOK = 'test -d "$1" && exit 0; test -d "$2" && exit 1; exit 2'
_NO_FOLDER = 2
# What tar leaves unread is read all the same: a server whose program stops reading keeps us from sending for ever.
_UNPACK = 'tar xf - -C "$1"; code=$?; cat >/dev/null; exit $code'
_PIECE = 256 * 1024
"""Bytes in one message to the container."""


def download(connection: Connection, container: Container, source: str, destination: Path) -> int:
    """Copy a file or folder out of the container, to exactly `destination`; returns how many files came."""
    source = source.rstrip("/") or "/"
    folder, name = posixpath.split(source)
    session = Session.start(
        connection, container, ["tar", "cf", "-", "-C", folder or ".", "--", name or "."], tty=False
    )
    reader = _Output(session)
    count = 0
    try:
        with tarfile.open(fileobj=reader, mode="r|") as archive:
            for member in _renamed(archive, destination.name):
                archive.extract(member, destination.parent, filter="data")
                count += member.isfile()
        reader.drain()
    except (tarfile.ReadError, EOFError) as error:
        reader.drain()
        _require_success(session, reader.errors, f"{source} cannot be copied out of {container.pod}")
        raise TargetError(f"{source} came only in part: {error}", "Copy it again.") from None
    except tarfile.FilterError as error:
        raise TargetError(f"{source} holds something that is not safe to unpack: {error}") from None
    finally:
        session.close()
    _require_success(session, reader.errors, f"{source} cannot be copied out of {container.pod}")
    return count


def upload(connection: Connection, container: Container, source: Path, destination: str) -> int:
    """Copy a file or folder into the container, to `destination` or, if that is a folder, into it."""
    folder, name = _place(connection, container, destination.rstrip("/") or "/", source.resolve().name)
    session = Session.start(connection, container, ["sh", "-c", _UNPACK, "sh", folder], tty=False)
    writer = _Input(session)
    failed = f"{source} cannot be copied into {container.pod}"
    try:
        with tarfile.open(fileobj=writer, mode="w|", bufsize=_PIECE) as archive:
            archive.add(source, arcname=name, filter=writer.anonymous)
        session.end_input()
        writer.drain()
    finally:
        session.close()
    _require_success(session, writer.errors, failed)
    return writer.count


def _renamed(archive: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """The members with `name` in place of the folder or file that was asked for."""
    for member in archive:
        _, slash, rest = member.name.removeprefix("./").partition("/")
        link = member.linkname
        if member.islnk():
            link = name + "".join(link.removeprefix("./").partition("/")[1:])
        yield member.replace(name=name + slash + rest, linkname=link, deep=False)


def _place(connection: Connection, container: Container, path: str, own_name: str) -> tuple[str, str]:
    """The folder in the container that receives the copy, and the name it gets there; raises `TargetError`."""
    parent, name = posixpath.split(path)
    session = Session.start(connection, container, ["sh", "-c", _LOOK, "sh", path, parent or "."], tty=False)
    try:
        while session.receive() is not None:
            pass
    finally:
        session.close()
    kind = session.result()
    if kind == _NO_FOLDER:
        raise TargetError(f"there is no folder {parent} in {container.pod}", f"cw shell RUN -- mkdir -p {parent}")
    return (path, own_name) if kind == 0 else (parent or ".", name)


def _require_success(session: Session, errors: bytearray, failed: str) -> None:
    if session.result() != 0:
        said = errors.decode("utf-8", "replace").strip().splitlines()
        raise TargetError(f"{failed}: {said[0] if said else 'tar failed'}", "Is the path right, and may it be written?")


class _Output(io.RawIOBase):
    """What the command prints, as a file."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.buffer = bytearray()
        self.errors = bytearray()
        self.ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self.ended and len(self.buffer) < size:
            self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def drain(self) -> None:
        """Read what is left, so that the exit code is known."""
        while not self.ended:
            self._more()
            self.buffer.clear()

    def _more(self) -> None:
        received = self.session.receive()
        if received is None:
            self.ended = True
        elif received[0] == STDOUT:
            self.buffer += received[1]
        elif received[0] == STDERR:
            self.errors += received[1]


class _Input(_Output):
    """The command's standard input, as a file."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        while not self.ended and self.session.readable():
            self._more()
        if self.ended:
            raise ApiError(f"the connection to {self.session.where} ended before everything was sent", reason="broken")
        self.session.send(piece)
        return len(piece)

    def anonymous(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """The member without its owner here, whom the container does not know."""
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        self.count += member.isfile()
        return member
