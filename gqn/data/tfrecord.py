"""TFRecord files of serialized `tf.train.Example` messages, and the JPEG frames in them, without TensorFlow.

A record is: its length (8 bytes, little-endian), the masked CRC-32C of those 8 bytes, the data, the masked CRC-32C of
the data. A file is records one after another, as they are or gzipped as a whole. Records are counted from 0.
"""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from gzip import GzipFile
from math import prod
from typing import IO, Any

import google_crc32c
import numpy as np
import simplejpeg
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from numpy.typing import NDArray

from gqn.core.errors import Error
from gqn.core.files import whole_file
from gqn.data.stream import CHUNK, Stream, unzipped

HEADER = struct.Struct("<QI")  # length, its checksum
CHECKSUM = struct.Struct("<I")
LONGEST = 2**26 - 1  # bytes; of the known datasets the longest record has some 2 million


class RecordError(Error):
    """A record that cannot be read; the message is one line."""


@dataclass(frozen=True)
class Record:
    """A sound record: the offset of its header in the uncompressed stream, and its data."""

    offset: int
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of the record in the stream, header and checksums included."""
        return HEADER.size + len(self.data) + CHECKSUM.size


@dataclass(frozen=True)
class Damage:
    """A damaged stretch of a record file: its first byte in the uncompressed stream, its length, and the cause."""

    offset: int
    bytes: int
    cause: str


def scan_records(path: str | os.PathLike[str]) -> Iterator[Record | Damage]:
    """Yield the sound records of a TFRecord file and the damages between them, in order.

    The file is plain or gzipped, which the content tells and not the name. After a damage the next record is found by
    the checksum of its header, so a damage costs the records that it touches and no other; what follows a damage of a
    gzip stream cannot be read. Memory holds one record and little more. OSError where the file cannot be read.
    """
    with open(path, "rb") as plain:
        head = plain.peek(HEADER.size)[: HEADER.size]
        # A plain first record of 35,615 bytes starts with gzip's magic bytes too: its own checksum tells them apart.
        zipped = head.startswith(b"\x1f\x8b") and not _header_holds(head)
        stream = Stream(unzipped(plain) if zipped else iter(lambda: plain.read(CHUNK), b""))
        offset, explained = 0, False
        while header := stream.read(offset, HEADER.size):
            try:
                record = Record(offset, _read_data(stream, offset, header))
            except RecordError as error:
                end = _next_header(stream, offset + 1)
                explained = stream.error is not None
                yield Damage(offset, end - offset, f"{error}; {stream.error}" if explained else str(error))
                offset = end
            else:
                yield record
                offset += record.size
            stream.forget(offset)
        if stream.error and not explained:
            yield Damage(offset, 0, stream.error)


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the data of each record of a TFRecord file that is sound throughout.

    Raises RecordError, which names the file, the record, the byte where it starts and the cause, at the first damage.
    """
    for number, found in enumerate(scan_records(path)):
        if isinstance(found, Damage):
            raise RecordError(f"{path}: record {number} (from 0) at byte {found.offset}: {found.cause}")
        yield found.data


def write_records(path: str | os.PathLike[str], records: Iterable[bytes], gzip: bool = False) -> None:
    """Write `records` as a TFRecord file that appears whole or not at all, the same bytes each time."""
    with whole_file(path) as plain:
        # Neither a name nor a time in gzip's header, so that equal records give equal files.
        file: IO[bytes] = GzipFile("", "wb", fileobj=plain, mtime=0) if gzip else plain  # type: ignore[assignment]
        for record in records:
            length = len(record).to_bytes(8, "little")
            file.write(length + CHECKSUM.pack(_masked_crc(length)) + record + CHECKSUM.pack(_masked_crc(record)))
        if gzip:
            file.close()


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _header_holds(header: bytes) -> bool:
    return len(header) == HEADER.size and _masked_crc(header[:8]) == HEADER.unpack(header)[1]


def _read_data(stream: Stream, offset: int, header: bytes) -> bytes:
    if len(header) < HEADER.size:
        raise RecordError(f"cut short: {len(header)} of the {HEADER.size} bytes of its header are there")
    if not _header_holds(header):
        raise RecordError("bad checksum of its length: the file is damaged here, or is no TFRecord file")
    length = HEADER.unpack(header)[0]
    if length > LONGEST:
        raise RecordError(f"{length} bytes long by its header, more than a record can be")
    rest = stream.read(offset + HEADER.size, length + CHECKSUM.size)
    if len(rest) < length + CHECKSUM.size:
        raise RecordError(f"cut short: {len(rest)} of its {length + CHECKSUM.size} bytes are there")
    data = rest[:length]
    if _masked_crc(data) != CHECKSUM.unpack(rest[length:])[0]:
        raise RecordError("bad checksum of its data: the file is damaged here")
    return data


def _next_header(stream: Stream, offset: int) -> int:
    """Return the offset of the next header whose checksum holds, from `offset` on, or the end of the stream."""
    while len(block := stream.read(offset, CHUNK)) >= HEADER.size:
        places = len(block) - HEADER.size + 1
        lengths = np.ndarray(places, "<u8", block, 0, (1,))  # of a header at each place
        checksums = np.ndarray(places, "<u4", block, 8, (1,))
        # Skip stretches of zeros, common in damaged files: there every place would pass for a length of 0.
        near = np.flatnonzero((lengths <= LONGEST) & ((lengths > 0) | (checksums == _masked_crc(bytes(8)))))
        crc = np.full(len(near), google_crc32c.value(bytes(8)), np.uint32)
        for byte, table in enumerate(_crc_tables()):
            crc ^= table[lengths[near].astype(np.uint32) >> 8 * byte & 255]
        masked = (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)
        found = near[masked == checksums[near]]
        if len(found):
            return offset + int(found[0])
        offset += places
        stream.forget(offset)
    return offset + len(block)


@cache
def _crc_tables() -> list[NDArray[np.uint32]]:
    """Return four tables: what each low byte of a length changes of the length's checksum, by the byte's value.

    The checksum is linear over exclusive or, and the upper four bytes of any real length are zero.
    """
    zero = google_crc32c.value(bytes(8))
    return [
        np.array([google_crc32c.value((value << 8 * byte).to_bytes(8, "little")) ^ zero for value in range(256)], "u4")
        for byte in range(4)
    ]


# tensorflow/core/example/{example,feature}.proto, as a descriptor.
EXAMPLE = """
name: "example.proto" package: "tensorflow" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type {
  name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 label: LABEL_OPTIONAL type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 label: LABEL_OPTIONAL type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 label: LABEL_OPTIONAL type_name: "Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "FeatureEntry" }
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type_name: "Feature" }
  }
}
message_type {
  name: "Example" field { name: "features" number: 1 label: LABEL_OPTIONAL type_name: "Features" }
}
"""


def _example_class() -> type[Any]:
    """Return the class `tf.train.Example`, from a pool apart from TensorFlow's and tensorboardX's."""
    pool = DescriptorPool()
    pool.Add(text_format.Parse(EXAMPLE, FileDescriptorProto()))
    return GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()


def encode_scene(
    jpegs: Sequence[bytes], cameras: NDArray[np.float32], tensors: Mapping[str, NDArray[np.float32]] | None = None
) -> bytes:
    """Return a serialized Example of one scene in the schema of DeepMind's datasets, the same bytes each time.

    cameras: (views, 5), x, y, z, yaw and pitch; one row for each JPEG, else ValueError; tensors: what other senses say,
    by name, of any shape: float features of their own.
    """
    if cameras.shape != (len(jpegs), 5):
        raise Error(f"{len(jpegs)} frames with cameras of shape {cameras.shape}, expected ({len(jpegs)}, 5)")
    example = Example()
    example.features.feature["frames"].bytes_list.value.extend(jpegs)
    for name, values in {"cameras": cameras, **(tensors or {})}.items():
        example.features.feature[name].float_list.value.extend(values.ravel().tolist())
    return example.SerializeToString(deterministic=True)


def decode_example(record: bytes) -> dict[str, Sequence[Any]]:
    """Return the features of a serialized Example by name: lists of bytes, floats or integers. Raises RecordError."""
    try:
        features = Example.FromString(record).features.feature
    except DecodeError as error:
        raise RecordError(f"no serialized tf.train.Example ({error})") from error
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: getattr(features[name], kind).value if kind else [] for name, kind in kinds.items()}


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Return a JPEG's pixels, RGB, (3, h, w), a transposed view of (h, w, 3); see `fill_frame`. Raises ValueError."""
    frame = np.empty((*jpeg_size(data), 3), np.uint8)
    fill_frame(data, frame)
    return frame.transpose(2, 0, 1)


def fill_frame(data: bytes | NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    """Fill a frame (h, w, 3) with a JPEG's pixels, RGB: those of TensorFlow's default decoder, bit for bit.

    Raises ValueError where it is no whole JPEG of that size.
    """
    try:
        # TensorFlow's default is libjpeg's fast integer transform; with the accurate one 65 % of the values differ.
        # Into memory of a known size: a damaged frame may claim to have billions of pixels.
        size = simplejpeg.decode_jpeg(data, fastdct=True, buffer=frame).shape[:2]
    except ValueError as error:
        size = frame.shape[:2]
        with suppress(ValueError):
            size = jpeg_size(data)
        if size == frame.shape[:2]:
            raise Error(f"is no whole JPEG ({error})") from error
    if size != frame.shape[:2]:
        raise Error(f"has {size[0]}x{size[1]} pixels, expected {frame.shape[0]}x{frame.shape[1]}")


def jpeg_size(data: bytes | NDArray[np.uint8]) -> tuple[int, int]:
    """Return the height and width that a JPEG claims to have. Raises ValueError if it is none."""
    return simplejpeg.decode_jpeg_header(data)[:2]


def encode_jpeg(frame: NDArray[np.uint8], quality: int = 95, subsampling: str = "420") -> bytes:
    """Return a frame (h, w, 3), RGB, as JPEG, by default as in DeepMind's files; the same bytes each time."""
    # Genuine frames are YCbCr with chroma at half the resolution (4:2:0) and the standard tables at quality 95.
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame), quality=quality, colorsubsampling=subsampling, fastdct=False
    )


def decode_scene(
    record: bytes, frame: NDArray[np.uint8], tensors: Mapping[str, tuple[int, ...]]
) -> tuple[list[bytes], dict[str, NDArray[np.float32]]]:
    """Return the JPEGs of the views, and the other tensors by name, of a scene that `encode_scene` or DeepMind wrote.

    frame: (h, w, 3), into which every view is decoded, to see that it can be. tensors: shape of each float feature of a
    scene by its name; `cameras` (views, 5) is one of them. Raises RecordError where the record holds other numbers of
    frames, values or pixels, a frame that is no JPEG or a value that is not finite.
    """
    features = decode_example(record)
    views = tensors["cameras"][0]
    jpegs = _feature(features, "frames", bytes, views, views)
    arrays = {}
    for name, shape in tensors.items():
        arrays[name] = np.array(_feature(features, name, float, prod(shape), views), np.float32).reshape(shape)
        if not np.isfinite(arrays[name]).all():
            view = np.argwhere(~np.isfinite(arrays[name]))[0, 0]
            raise RecordError(f"the {name.removesuffix('s')} of view {view} is not finite")
    for view, jpeg in enumerate(jpegs):
        try:
            fill_frame(jpeg, frame)
        except ValueError as error:
            raise RecordError(f"the frame of view {view} {error}") from error
    return jpegs, arrays


def _feature(features: Any, name: str, kind: type, expected: int, views: int) -> list[Any]:
    have = features.get(name, ())
    if len(have) != expected or not isinstance(have[0], kind):
        what = f"{len(have)} values of type {type(have[0]).__name__}" if have else "nothing"
        raise RecordError(
            f"its feature '{name}' holds {what}, expected {expected} of type {kind.__name__} ({views} views)"
        )
    return list(have)
