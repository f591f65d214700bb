"""TFRecord files of serialized `tf.train.Example` messages, and the JPEG frames in them, without TensorFlow.

A record is: its length (8 bytes, little-endian), the masked CRC-32C of those 8 bytes, the data, the masked CRC-32C of
the data. A file is records one after another, as they are or gzipped as a whole. Records are counted from 0.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from gzip import BadGzipFile, GzipFile
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

from gqn.files import whole_file

HEADER = struct.Struct("<QI")  # length, its checksum
CHECKSUM = struct.Struct("<I")
LONGEST = 2**31 - 1  # bytes; a protobuf message cannot be longer


class RecordError(ValueError):
    """A record that cannot be read; the message is one line."""


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The data of each record of a TFRecord file, plain or gzipped, which the content tells and not the name.

    Raises RecordError, which names the file, the record, the byte where it starts (in the uncompressed stream) and the
    cause, at the first record with a wrong checksum or cut short; OSError where the file cannot be read.
    """
    with open(path, "rb") as plain:
        head = plain.peek(HEADER.size)[: HEADER.size]
        # A plain first record of 35,615 bytes starts with gzip's magic bytes too: its own checksum tells them apart.
        zipped = head.startswith(b"\x1f\x8b") and not _header_holds(head)
        file: IO[bytes] = GzipFile(fileobj=plain) if zipped else plain  # type: ignore[assignment]
        number = offset = 0
        try:
            while header := file.read(HEADER.size):
                data = _read_data(file, header)
                yield data
                number += 1
                offset += HEADER.size + len(data) + CHECKSUM.size
        except (RecordError, EOFError, BadGzipFile, zlib.error) as error:
            raise RecordError(f"{path}: record {number} (from 0) at byte {offset}: {error}") from error


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


def _read_data(file: IO[bytes], header: bytes) -> bytes:
    if len(header) < HEADER.size:
        raise RecordError(f"cut short: {len(header)} of the {HEADER.size} bytes of its header are there")
    if not _header_holds(header):
        raise RecordError("bad checksum of its length: the file is damaged here, or is no TFRecord file")
    length = HEADER.unpack(header)[0]
    if length > LONGEST:
        raise RecordError(f"{length} bytes long by its header, more than a message can be")
    rest = file.read(length + CHECKSUM.size)
    if len(rest) < length + CHECKSUM.size:
        raise RecordError(f"cut short: {len(rest)} of its {length + CHECKSUM.size} bytes are there")
    data = rest[:length]
    if _masked_crc(data) != CHECKSUM.unpack(rest[length:])[0]:
        raise RecordError("bad checksum of its data: the file is damaged here")
    return data


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
    """`tf.train.Example` from a pool of its own, apart from TensorFlow's and tensorboardX's."""
    pool = DescriptorPool()
    pool.Add(text_format.Parse(EXAMPLE, FileDescriptorProto()))
    return GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()


def encode_scene(
    jpegs: Sequence[bytes], cameras: NDArray[np.float32], tensors: Mapping[str, NDArray[np.float32]] | None = None
) -> bytes:
    """A serialized Example of one scene in the schema of DeepMind's datasets, the same bytes each time.

    cameras: (views, 5), x, y, z, yaw and pitch; one row for each JPEG, else ValueError; tensors: what other senses say,
    by name, of any shape: float features of their own.
    """
    if cameras.shape != (len(jpegs), 5):
        raise ValueError(f"{len(jpegs)} frames with cameras of shape {cameras.shape}, expected ({len(jpegs)}, 5)")
    example = Example()
    example.features.feature["frames"].bytes_list.value.extend(jpegs)
    for name, values in {"cameras": cameras, **(tensors or {})}.items():
        example.features.feature[name].float_list.value.extend(values.ravel().tolist())
    return example.SerializeToString(deterministic=True)


def decode_example(record: bytes) -> dict[str, list[Any]]:
    """The features of a serialized Example: lists of bytes, floats or integers by name; RecordError if it is none."""
    try:
        features = Example.FromString(record).features.feature
    except DecodeError as error:
        raise RecordError(f"no serialized tf.train.Example ({error})") from error
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: list(getattr(features[name], kind).value) if kind else [] for name, kind in kinds.items()}


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Pixels of a JPEG, RGB, (3, h, w): those of TensorFlow's default decoder, bit for bit; ValueError if it is none.

    A transposed view of (h, w, 3).
    """
    # TensorFlow's default is libjpeg's fast integer transform; with the accurate one 65 % of the values differ.
    return simplejpeg.decode_jpeg(data, fastdct=True).transpose(2, 0, 1)


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """The JPEG of a frame (h, w, 3), RGB, in the settings of DeepMind's files; the same bytes each time."""
    # Genuine frames are YCbCr with chroma at half the resolution (4:2:0) and the standard tables at quality 95.
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=95, colorsubsampling="420", fastdct=False)


def decode_scene(record: bytes, frames: NDArray[np.uint8], cameras: NDArray[np.float32]) -> None:
    """Fill frames (views, 3, h, w) and cameras (views, 5) with a scene that `encode_scene` or DeepMind serialized.

    Raises RecordError where the record holds other numbers of frames, cameras or pixels, a frame that is no JPEG or a
    camera that is not finite.
    """
    features = decode_example(record)
    views, _, height, width = frames.shape
    for name, kind, expected in (("frames", bytes, views), ("cameras", float, cameras.size)):
        have = features.get(name, [])
        if len(have) != expected or not isinstance(have[0], kind):
            what = f"{len(have)} values of type {type(have[0]).__name__}" if have else "nothing"
            raise RecordError(
                f"its feature '{name}' holds {what}, expected {expected} of type {kind.__name__} ({views} views)"
            )
    cameras[:] = np.array(features["cameras"], np.float32).reshape(cameras.shape)
    if not np.isfinite(cameras).all():
        raise RecordError(f"the camera of view {np.argwhere(~np.isfinite(cameras))[0, 0]} is not finite")
    for view, jpeg in enumerate(features["frames"]):
        try:
            frame = decode_jpeg(jpeg)
        except ValueError as error:
            raise RecordError(f"the frame of view {view} is no whole JPEG ({error})") from error
        if frame.shape[1:] != (height, width):
            have_size = f"{frame.shape[1]}x{frame.shape[2]}"
            raise RecordError(f"the frame of view {view} has {have_size} pixels, expected {height}x{width}")
        frames[view] = frame
