"""Files and folders by their address: on this machine, or on an object store, such as `s3://bucket/answers`.

Object stores are reached through pyarrow, which reads the keys and the endpoint where their own tools do: from the
environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...) or from the machine's role.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit
from uuid import uuid4

from backbone.remote.addresses import (
    FILE,
    STORES,
    first_line,
    scheme_of,
    split_address,
    store_address,
    store_errors,
    with_endpoint,
)
from backbone.runs.files import PART, disk_guard, flush, open_new, sha256, writable
from tickets.errors import InputError
from tickets.sources import source_path

_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Place:
    """A file or folder.

    Attributes:
        address: what people call it.
        path: in its store, or on this machine.
    """

    address: str
    path: str
    _store: Any = None  # a pyarrow.fs.FileSystem; None on this machine

    @classmethod
    def parse(cls, text: str, option: str) -> "Place":
        """Return the place that a path or an address names.

        Args:
            option: what names another one.

        Raises:
            InputError: an unknown scheme, an address with a password in it, or no path.
        """
        scheme = scheme_of(text)
        if scheme in ("", FILE):
            path = str(source_path(text.partition("://")[2] if scheme else text))
            return cls(path, path)
        if scheme not in STORES:
            known = ", ".join(f"{name}://" for name in (*STORES, FILE))
            raise InputError(f"{option}: found {scheme}://, expected a path or an address with {known}")
        if "@" in urlsplit(text).netloc and not scheme.startswith("abfs"):
            raise InputError(
                f"{option}: found a key in the address, where others can read it; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY in its place"
            )
        from pyarrow.fs import FileSystem

        # the key is not parsed: it may hold characters that have a meaning in addresses
        server, key, query = split_address(text)
        try:
            with store_errors(text):  # S3 is asked for the bucket's region here
                store, bucket = FileSystem.from_uri(with_endpoint(server + query) if scheme == "s3" else server + query)
        except ValueError as error:
            raise InputError(
                f"{text[:200]}: no address of an object store ({first_line(error)}); expected {scheme}://BUCKET/FOLDER"
            ) from None
        path = f"{bucket.rstrip('/')}/{key}".rstrip("/")
        return cls(f"{server}/{key}".rstrip("/") + query, path, store)

    @classmethod
    def of_path(cls, path: Path, option: str) -> "Place | None":
        """Return the place on a store whose address `model_path` put into a path; None for a path of this machine.

        Raises:
            InputError: see `parse`.
        """
        address = store_address(path)
        return cls.parse(address, option) if address else None

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine, or in a folder that is mounted here."""
        return self._store is None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @property
    def local(self) -> Path:
        """The path of a place on this machine."""
        assert self.is_local
        return Path(self.path)

    def __truediv__(self, name: str) -> "Place":
        """Return a place in this folder."""
        if self.is_local:
            path = str(self.local / name)
            return Place(path, path)
        server, key, query = split_address(self.address)
        key = f"{key}/{name}".lstrip("/")
        return Place(f"{server}/{key}{query}", f"{self.path}/{name}", self._store)

    @property
    def parent(self) -> "Place":
        """The folder that it lies in."""
        if self.is_local:
            path = str(self.local.parent)
            return Place(path, path)
        server, key, query = split_address(self.address)
        folder = key.rpartition("/")[0]
        return Place(f"{server}/{folder}{query}", self.path.rpartition("/")[0], self._store)

    def is_folder(self) -> bool:
        """Return whether there is a folder, or objects below that name.

        Raises:
            WorkError: the store does not answer.
        """
        if self.is_local:
            return self.local.is_dir()
        from pyarrow.fs import FileType

        with store_errors(self.address):
            return bool(self._store.get_file_info(self.path).type == FileType.Directory)

    def is_file(self) -> bool:
        """Return whether there is a file.

        Raises:
            WorkError: the store does not answer.
        """
        return self.local.is_file() if self.is_local else self._entry() is not None

    def files(self, recursive: bool = False) -> dict[str, int]:
        """Return the bytes of every file in this folder by its name, sorted; nothing where there is no folder.

        Args:
            recursive: with those of its folders, named with `/`.

        Raises:
            WorkError: the store does not answer.
        """
        if self.is_local:
            paths = self.local.rglob("*") if recursive else self.local.glob("*")
            found = {path.relative_to(self.local).as_posix(): path for path in paths if path.is_file()}
            return {name: found[name].stat().st_size for name in sorted(found)}
        from pyarrow.fs import FileSelector, FileType

        with store_errors(self.address):
            entries = self._store.get_file_info(FileSelector(self.path, allow_not_found=True, recursive=recursive))
        sizes = {
            entry.path.removeprefix(f"{self.path}/"): entry.size for entry in entries if entry.type == FileType.File
        }
        return {name: sizes[name] for name in sorted(sizes)}

    def read(self, largest: int) -> bytes | None:
        """Return the content of a file; None where there is none.

        Raises:
            InputError: it has more than `largest` bytes.
            WorkError: the store does not answer.
        """
        if not self.is_file():
            return None
        if self.is_local:
            with self.local.open("rb") as file:
                content = file.read(largest + 1)
        else:
            with store_errors(self.address), self._store.open_input_stream(self.path) as stream:
                content = stream.read(largest + 1)
        if len(content) > largest:
            raise InputError(f"{self.address}: over {largest:,} bytes, expected fewer; it is no file of duet")
        return content

    def write(self, content: bytes) -> None:
        """Write a file in one act: a reader finds the old content or the new, never half.

        Raises:
            InputError: it cannot be written there.
            WorkError: the store does not answer, or the disk is full.
        """
        if not self.is_local:
            # an object appears when its upload is complete; bytes that are sent at once cannot be cut by our own errors
            with store_errors(self.address), self._store.open_output_stream(self.path) as stream:
                stream.write(content)
            return
        # two attempts at the same file must not write into one another
        part = self.local.with_name(f".{self.name}.{uuid4().hex[:8]}{PART}")
        with disk_guard(self.local), writable(self.local, "--out"):
            self.local.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open_new(part, "xb") as file:
                    file.write(content)
                flush(part)
                part.replace(self.local)
            finally:
                part.unlink(missing_ok=True)
            flush(self.local.parent)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file for reading at any place in it.

        Raises:
            InputError: no such file.
            WorkError: the store does not answer.
        """
        if self.is_local:
            with self.local.open("rb") as file:
                yield file
        else:
            with store_errors(self.address), self._store.open_input_file(self.path) as stored:
                yield stored

    def copy_to(self, path: Path) -> None:
        """Copy the file to this machine.

        Raises:
            WorkError: the store does not answer, or the disk is full.
        """
        assert not self.is_local
        with (
            disk_guard(path),
            store_errors(self.address),
            self._store.open_input_stream(self.path) as stream,
            path.open("wb") as file,
        ):
            while chunk := stream.read(_CHUNK):
                file.write(chunk)

    def remove(self) -> None:
        """Delete the file, where there is one.

        Raises:
            WorkError: the store does not answer.
        """
        if self.is_local:
            self.local.unlink(missing_ok=True)
        elif self.is_file():
            with store_errors(self.address):
                self._store.delete_file(self.path)

    def remove_folder(self) -> None:
        """Delete the folder with all that is in it, where there is one.

        Raises:
            WorkError: the store does not answer.
        """
        if not self.is_folder():
            return
        if self.is_local:
            shutil.rmtree(self.local)
        else:
            with store_errors(self.address):
                self._store.delete_dir(self.path)

    def fingerprint(self) -> str:
        """Return what changes when the file's content does: its SHA-256, or on a store its size and time of change.

        Raises:
            InputError: no such file.
            WorkError: the store does not answer.
        """
        if self.is_local and self.local.is_file():
            return sha256(self.local)
        entry = None if self.is_local else self._entry()
        if entry is None:
            raise InputError(f"{self.address}: no such file; correct the address")
        return f"{entry.size} bytes of {entry.mtime_ns}"

    def _entry(self) -> Any:
        """Return what the store says of the file; None where there is none."""
        from pyarrow.fs import FileType

        with store_errors(self.address):
            entry = self._store.get_file_info(self.path)
        return entry if entry.type == FileType.File else None
