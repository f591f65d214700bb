"""Downloads of record files from a store (Google's bucket, a web server or another folder) by fsspec.

SOURCE/DATASET/{train,test}/001-of-900.tfrecord, as DeepMind's bucket has them.
"""

import base64
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import google_crc32c

from gqn.core.files import whole_file
from gqn.data.dataset import BUCKET, DATASETS, DatasetError, DatasetInfo, described, record_file_name
from gqn.data.shards import check_stems

BLOCK = 2**23  # bytes of one request
TRIES = 4  # of a request
WAIT = 1.0  # seconds before the second try, twice as many before each one after
LONGEST = 2**20  # bytes of a description
LONGEST_LISTING = 2**26  # bytes of what a web server lists, or sends in place of a part of it
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Fetch:
    """Options of a download: the source, the number of files, and whether to remove them after conversion."""

    source: str = BUCKET  # gs://, http://, https:// or file:// address of the folder that holds the dataset's
    files: int | None = None  # the first so many of each split; all by default
    delete_records: bool = False  # each once its shards are verified
    at_once: int = 8  # downloads


class Stopped(Exception):
    """A download that was told to stop."""


@dataclass(frozen=True)
class Remote:
    """A file of a store: its path there, bytes, and checksums in base64 where the store has them."""

    path: str
    size: int
    crc32c: str | None
    md5: str | None


class Store:
    """A dataset's record files at a source. Raises DatasetError, naming the file, where it does not answer."""

    def __init__(self, source: str, dataset: str) -> None:
        import fsspec  # takes a while, and few runs fetch

        self.address, self.dataset, self.stop = f"{source.rstrip('/')}/{dataset}", dataset, Event()
        self._tries = TRIES
        self._largest = 0  # bytes of what is fetched
        try:
            if source.startswith(("gs://", "gcs://")):
                # Or gcsfs asks of which kind a bucket is, and that needs credentials, which a public bucket does not.
                os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
                from gcsfs.core import GCSFileSystem

                self._files, self._root = GCSFileSystem(token="anon"), self.address.partition("://")[2]
                self._tries = 1  # it has a patience of its own
            else:
                web = source.startswith(("http://", "https://"))
                settings = {"client_kwargs": {"response_class": self._response()}, "skip_instance_cache": True}
                self._files, self._root = fsspec.url_to_fs(self.address, **(settings if web else {}))
        except ImportError as error:
            raise DatasetError(f"{source}: {error}: pip install -e '.[fetch]'") from error
        except ValueError as error:
            raise DatasetError(f"{source}: no gs://, http://, https:// or file:// address ({error})") from error

    def fetch_description(self, directory: Path) -> None:
        """Make the dataset's folder, with its dataset.json where it is not one of DeepMind's."""
        path, there = directory / "dataset.json", f"{self._root}/dataset.json"
        if self.dataset not in DATASETS and not path.exists():
            try:
                description = self._ask(there, lambda: self._beginning(there))
            except FileNotFoundError:
                raise DatasetError(f"{self.address}: no dataset.json there, and not one of DeepMind's names") from None
            if len(description) > LONGEST:
                raise DatasetError(f"{there}: more than {LONGEST} bytes: no dataset's description")
            described(there, description)  # and not the page of a captive portal
            directory.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(description)
        directory.mkdir(parents=True, exist_ok=True)

    def record_files(self, split: str, limit: int | None, info: DatasetInfo) -> dict[str, Remote]:
        """Return the first `limit` record files of a split by name; none where the store has no such split."""
        folder = f"{self._root}/{split}"
        try:
            listed = self._ask(folder, lambda: self._files.ls(folder, detail=True))
        except FileNotFoundError:
            listed = []  # or a web server that lists nothing
        entries = {entry["name"].rpartition("/")[2]: entry for entry in listed if entry["type"] == "file"}
        names = [name for name in sorted(entries) if info.is_record_file(name)]
        check_stems(folder, names)
        if not names and self._root.startswith("http") and self.dataset in DATASETS:
            count = DATASETS[self.dataset].files[split]
            names = [record_file_name(number, count) for number in range(1, count + 1)]

        def remote(name: str) -> Remote:
            path, entry = f"{folder}/{name}", entries.get(name, {})
            if not isinstance(entry.get("size"), int):
                try:
                    entry = self._ask(path, lambda: self._files.info(path))
                except FileNotFoundError:
                    raise DatasetError(f"{path}: not there") from None
            if not isinstance(entry.get("size"), int):
                raise DatasetError(f"{path}: the server does not tell its size")
            return Remote(path, entry["size"], entry.get("crc32c"), entry.get("md5Hash") or entry.get("Content-MD5"))

        with ThreadPoolExecutor(16) as pool:
            try:
                return dict(zip(names[:limit], pool.map(remote, names[:limit]), strict=True))
            except BaseException:
                self.stop.set()
                raise

    def fetch(self, remote: Remote, target: Path) -> None:
        """Make `target` a whole and sound copy of a remote file, going on from what a stopped run left of it.

        Raises DatasetError, Stopped, OSError.
        """
        if target.is_file() and target.stat().st_size == remote.size and not _wrong(target, remote):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(f"{target}.partial")
        for again in (True, False):
            self._append_rest(remote, aside)
            if not (wrong := _wrong(aside, remote)):
                os.replace(aside, target)
                return
            aside.unlink()  # what a stopped run left may be of another version of the file
            if not again:
                raise DatasetError(f"{remote.path}: arrives damaged: {wrong}: try again later, or another source")

    def _append_rest(self, remote: Remote, aside: Path) -> None:
        self._largest = max(self._largest, remote.size)
        with aside.open("ab") as file:
            if file.tell() > remote.size:
                file.truncate(0)
            while (start := file.seek(0, os.SEEK_END)) < remote.size:
                end = min(start + BLOCK, remote.size)
                data = self._ask(remote.path, lambda: self._files.cat_file(remote.path, start=start, end=end))  # noqa: B023
                if len(data) == remote.size:  # a server that knows no ranges sends all of it
                    data = data[start:]
                elif len(data) != end - start:
                    raise DatasetError(f"{remote.path}: {len(data)} bytes came where {end - start} were asked for")
                file.write(data)

    def _ask(self, path: str, question: Callable[[], Answer]) -> Answer:
        """Return the answer of the store, asked again several times where it fails."""
        for attempt in range(self._tries):
            if self.stop.is_set():
                raise Stopped
            try:
                return self._answer(question)
            except (FileNotFoundError, Stopped, DatasetError):
                raise
            except Exception as error:  # each kind of store has errors of its own
                if attempt == self._tries - 1:
                    raise DatasetError(f"{path}: no answer ({type(error).__name__}: {error})") from error
            self.stop.wait(WAIT * 2**attempt)
        raise AssertionError

    def _response(self) -> type:
        """Answers of a web server that end where no more is wanted, whatever it sends."""
        from aiohttp import ClientResponse

        store = self

        class Response(ClientResponse):
            async def read(self) -> bytes:
                if self._body is None:
                    most, body = max(store._largest, LONGEST_LISTING), bytearray()
                    async for piece in self.content.iter_any():
                        body += piece
                        if len(body) > most:
                            self.close()
                            raise DatasetError(
                                f"{self.url}: more than {most} bytes come: no such file, or no end of it"
                            )
                    self._body = bytes(body)
                return self._body

        return Response

    def _beginning(self, path: str) -> bytes:
        """Return a description's first bytes: one more than are allowed, so that a longer file is noticed."""
        return self._files.cat_file(path, start=0, end=LONGEST + 1)

    def _answer(self, question: Callable[[], Answer]) -> Answer:
        """Return the answer to a question. Raises Stopped as soon as `stop` is set, since a body may never end."""
        future: Future[Answer] = Future()

        def ask() -> None:
            try:
                future.set_result(question())
            except BaseException as error:
                future.set_exception(error)

        Thread(target=ask, daemon=True).start()  # which Python's end does not wait for
        while not wait([future], timeout=0.2).done:
            if self.stop.is_set():
                raise Stopped
        return future.result()


def _wrong(path: Path, remote: Remote) -> str:
    """Return the fault of a copy of a remote file (size or checksum); empty where it is sound."""
    if path.stat().st_size != remote.size:
        return f"{path.stat().st_size} bytes instead of {remote.size}"
    crc, md5 = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            crc.update(block)
            if remote.md5 and not remote.crc32c:
                md5.update(block)
    if remote.crc32c:
        return "" if base64.b64encode(crc.digest()).decode() == remote.crc32c else "another CRC32C than the store's"
    if remote.md5:
        return "" if base64.b64encode(md5.digest()).decode() == remote.md5 else "another MD5 than the store's"
    return ""
