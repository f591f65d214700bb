"""Reading of a file that may be gzipped and damaged, a stretch at a time."""

import zlib
from collections.abc import Iterator
from typing import IO

CHUNK = 2**20  # bytes
# A gzip stream that swells beyond this is a bomb: JPEG frames hardly shrink at all.
MOST_UNZIPPED = 2**26  # bytes, whatever the size of the file
MOST_SWELLING = 200  # times what was read


class Stream:
    """Bytes by their offset, in chunks that are read as they are asked for and forgotten when told to.

    A zlib.error or EOFError of the chunks ends the stream, and stands in `error`.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.error: str | None = None
        self._chunks = chunks
        self._held = bytearray()
        self._start = 0  # offset of the first byte held

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only at the end."""
        first = offset - self._start
        while len(self._held) < first + length:
            try:
                chunk = next(self._chunks, None)
            except (zlib.error, EOFError) as error:
                self.error, chunk = f"its gzip stream is damaged here ({error})", None
            if chunk is None:
                self._chunks = iter(())
                break
            self._held += chunk
        return bytes(memoryview(self._held)[first : first + length])

    def forget(self, offset: int) -> None:
        """Let go of what lies before `offset`."""
        del self._held[: offset - self._start]
        self._start = offset


def unzipped(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the content of a gzip file of one or more members, to the last byte before a damage.

    At a damage it raises zlib.error, and EOFError where the file is cut short, as gzip.GzipFile would.
    """
    pending = file.read(CHUNK)
    consumed, produced = len(pending), 0
    while pending:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not pending:
                pending = file.read(CHUNK)
                consumed += len(pending)
            before = member.copy()
            try:
                chunk = member.decompress(pending, CHUNK)
            except zlib.error:
                yield _sound_part(before, pending)
                raise
            if not (pending or chunk or member.eof):
                raise EOFError("cut short")
            produced += len(chunk)
            if produced > MOST_UNZIPPED + MOST_SWELLING * consumed:
                raise zlib.error(f"more than {MOST_SWELLING} times its size")
            if chunk:
                yield chunk
            pending = member.unconsumed_tail
        pending = member.unused_data.lstrip(b"\0")  # padding, as of tapes
        while not pending and (more := file.read(CHUNK)):
            consumed += len(more)
            pending = more.lstrip(b"\0")


def _sound_part(member: "zlib._Decompress", pending: bytes) -> bytes:
    """Return what a damaged chunk gives before the damage, fed byte by byte: fed whole, it gives nothing."""
    out = bytearray()
    try:
        for place in range(len(pending)):
            out += member.decompress(pending[place : place + 1])
    except zlib.error:
        pass
    return bytes(out)
