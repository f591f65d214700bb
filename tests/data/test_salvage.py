"""Damaged record files: each sound record comes back, each damage is told with its place, and nothing else happens."""

import gzip
import io
import resource
import zlib
from pathlib import Path

import numpy as np
import pytest

from gqn.data.tfrecord import (
    CHECKSUM,
    HEADER,
    Damage,
    Record,
    RecordError,
    _masked_crc,
    decode_scene,
    encode_jpeg,
    encode_scene,
    scan_records,
    write_records,
)

MUTATED = 2_200  # files


def framed(record: bytes) -> bytes:
    length = len(record).to_bytes(8, "little")
    return length + CHECKSUM.pack(_masked_crc(length)) + record + CHECKSUM.pack(_masked_crc(record))


def header(length: int) -> bytes:
    """A header whose checksum holds, whatever it claims."""
    claimed = length.to_bytes(8, "little")
    return claimed + CHECKSUM.pack(_masked_crc(claimed))


class Mutated:
    """A stream of records and what happened to it; `sound` says which records are whole, and where they stand now."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        # Lengths from nothing to more than a header, and bytes that look like headers: zeros and small numbers.
        self.records = [
            random.integers(0, 3 if random.random() < 0.3 else 256, random.integers(0, 90), np.uint8).tobytes()
            for _ in range(random.integers(1, 9))
        ]
        self.pieces: list[tuple[bytes, int | None]] = [(framed(r), n) for n, r in enumerate(self.records)]

    def place(self) -> int:
        return int(self.random.integers(len(self.pieces)))

    def flip(self) -> None:
        at = self.place()
        piece = bytearray(self.pieces[at][0])
        piece[self.random.integers(len(piece))] ^= 1 << self.random.integers(8)
        self.pieces[at] = bytes(piece), None

    def lose(self) -> None:
        """Some bytes of a record are gone."""
        at = self.place()
        piece = self.pieces[at][0]
        first, stop = sorted(self.random.integers(0, len(piece) + 1, 2))
        if stop > first and (left := piece[:first] + piece[stop:]):
            self.pieces[at] = left, None

    def cut(self) -> None:
        """The file ends early."""
        at = self.place()
        piece = self.pieces[at][0]
        if len(piece) < 2:
            return
        del self.pieces[at + 1 :]
        self.pieces[at] = piece[: self.random.integers(1, len(piece))], None

    def insert(self) -> None:
        """Garbage between two records."""
        garbage = self.random.integers(0, 256, self.random.integers(1, 60), np.uint8).tobytes()
        self.pieces.insert(self.place(), (garbage, None))

    def zeros(self) -> None:
        self.pieces.insert(self.place(), (bytes(int(self.random.integers(1, 400))), None))

    def claim(self) -> None:
        """A sound header that claims an exabyte, or a little more than there is."""
        length = int(self.random.choice([2**60, 2**63, 2**31, 2**26 - 1, 500]))
        self.pieces.insert(self.place(), (header(length), None))

    def splice(self) -> None:
        """Records, the first in its middle, stand inside another record."""
        at = self.place()
        piece = self.pieces[at][0]
        if len(piece) < 2:
            return
        middle = int(self.random.integers(1, len(piece)))
        inside = [(framed(record), index) for index, record in enumerate(self.records[: self.place() + 1])]
        self.pieces[at : at + 1] = [(piece[:middle], None), *inside, (piece[middle:], None)]

    def stream(self) -> bytes:
        return b"".join(piece for piece, _ in self.pieces)

    def sound(self) -> dict[int, bytes]:
        places = np.cumsum([0, *(len(piece) for piece, _ in self.pieces)]).tolist()
        whole = zip(places, self.pieces, strict=False)
        return {place: self.records[number] for place, (_, number) in whole if number is not None}


MUTATIONS = [getattr(Mutated, name) for name in ("flip", "lose", "cut", "insert", "zeros", "claim", "splice")]


def scanned(path: Path, stream: bytes) -> tuple[dict[int, bytes], list[Damage]]:
    """Records by their offset and damages; together they must be the whole stream, once and in order."""
    path.write_bytes(stream)
    found = list(scan_records(path))
    return {f.offset: f.data for f in found if isinstance(f, Record)}, [f for f in found if isinstance(f, Damage)]


def assert_covered(records: dict[int, bytes], damages: list[Damage], length: int) -> None:
    stretches = [(offset, HEADER.size + len(data) + CHECKSUM.size) for offset, data in records.items()]
    at = 0
    for offset, size in sorted([*stretches, *((damage.offset, damage.bytes) for damage in damages)]):
        assert offset == at
        at += size
    assert at == length


def test_fuzz_every_sound_record_comes_back_and_every_damage_is_told(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    damaged = 0
    for _ in range(MUTATED):
        mutated = Mutated(random)
        for mutation in random.choice(MUTATIONS, random.integers(1, 4)):
            mutation(mutated)
        stream, sound = mutated.stream(), mutated.sound()
        records, damages = scanned(tmp_path / "file", stream)
        # A record that a mutation put together anew, such as a loss of nothing, is sound too: by its checksums.
        assert sound.items() <= records.items()
        assert all(framed(data) == stream[offset : offset + len(data) + 16] for offset, data in records.items())
        assert_covered(records, damages, len(stream))
        assert all(damage.cause and "\n" not in damage.cause for damage in damages)
        damaged += bool(damages)
    assert damaged > 0.8 * MUTATED


def unzipped_part(data: bytes) -> bytes:
    """Return the bytes that a gzip stream gives before its damage, read byte by byte."""
    member, out = zlib.decompressobj(31), bytearray()
    for place in range(len(data)):
        if member.eof:
            member = zlib.decompressobj(31)
        try:
            out += member.decompress(data[place : place + 1])
        except zlib.error:
            break
    return bytes(out)


def test_fuzz_gzip_gives_what_comes_before_its_damage(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for round_ in range(300):
        mutated = Mutated(random)
        zipped = bytearray(gzip.compress(mutated.stream(), mtime=0))
        if round_ % 3:
            zipped[random.integers(2, len(zipped))] ^= 1 << random.integers(8)
        if not round_ % 5:
            del zipped[random.integers(2, len(zipped)) :]
        part = unzipped_part(bytes(zipped))
        records, damages = scanned(tmp_path / "file.gz", bytes(zipped))
        assert_covered(records, damages, len(part))
        whole = {offset for offset, data in mutated.sound().items() if part[offset:].startswith(framed(data))}
        assert whole <= records.keys()
        assert damages or part == mutated.stream()


def test_bombs_and_claims_take_neither_memory_nor_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    bomb = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=bomb, mtime=0) as file:
        for _ in range(64):
            file.write(bytes(2**22))
    before = resource.getrusage(resource.RUSAGE_SELF)
    for stream, offset, cause in [
        (bomb.getvalue(), 0, "more than 200 times its size"),
        (gzip.compress(header(2**26 - 1) + bytes(2**24)), 0, "cut short"),
        (header(2**60), 0, "1152921504606846976 bytes long by its header"),
        (header(2**26 - 1) + bytes(2**24), 0, "cut short: 16777216 of its 67108867 bytes"),
    ]:
        path.write_bytes(stream)
        (damage,) = scan_records(path)
        assert isinstance(damage, Damage)
        assert damage.offset == offset
        assert cause in damage.cause
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 20
    assert after.ru_maxrss - before.ru_maxrss < 2**18  # KiB


@pytest.mark.parametrize("size", [2**20 - 5, 2**20, 3 * 2**20 + 7])
def test_the_next_record_is_found_across_chunks(tmp_path: Path, size: int) -> None:
    garbage = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    records, damages = scanned(tmp_path / "file", framed(b"one") + garbage + framed(b"two"))
    assert records == {0: b"one", 19 + size: b"two"}
    assert [(damage.offset, damage.bytes) for damage in damages] == [(19, size)]


def test_gzip_of_several_members_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_records(path, [b"one", b"two"], gzip=True)
    whole = path.read_bytes()
    records, damages = scanned(path, whole + whole + bytes(600))
    assert list(records.values()) == [b"one", b"two"] * 2
    assert damages == []


def test_fuzz_damaged_jpegs_are_refused_or_decoded_and_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    picture = random.integers(0, 256, (6, 6, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    jpeg, frame = encode_jpeg(picture), np.empty((24, 24, 3), np.uint8)
    refused: list[str] = []
    for _ in range(2_000):
        mutated = bytearray(jpeg)
        for place in random.integers(0, len(mutated), random.integers(1, 5)):
            mutated[place] = random.integers(256)
        if random.random() < 0.2:
            del mutated[random.integers(1, len(mutated)) :]
        record = encode_scene([bytes(mutated)], np.zeros((1, 5), np.float32))
        try:
            decode_scene(record, frame, {"cameras": (1, 5)})
        except RecordError as error:
            refused.append(str(error))
    assert 500 < len(refused) < 2_000
    assert all(cause.startswith("the frame of view 0 ") and "\n" not in cause for cause in refused)
    # A claim of 60,000 x 60,000 pixels would take 11 GB.
    size = jpeg.index(b"\xff\xc0") + 5
    huge = encode_scene([jpeg[:size] + 2 * (60000).to_bytes(2, "big") + jpeg[size + 4 :]], np.zeros((1, 5), np.float32))
    with pytest.raises(RecordError, match="the frame of view 0 has 60000x60000 pixels, expected 24x24"):
        decode_scene(huge, frame, {"cameras": (1, 5)})
