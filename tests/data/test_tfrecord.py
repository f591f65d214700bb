import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from conftest import TensorFlowFiles

from gqn.core.files import whole_file
from gqn.data.tfrecord import (
    RecordError,
    decode_example,
    decode_jpeg,
    encode_jpeg,
    encode_scene,
    read_records,
    write_records,
)

RECORDS = [b"first", b"", b"the third"]
ENDS = [16 + 5, 16 + 5 + 16, 16 + 5 + 16 + 16 + 9]  # where each record ends in the file


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    scenes = [decode_example(record) for record in read_records(path)]
    frames = np.array([[decode_jpeg(jpeg) for jpeg in scene["frames"]] for scene in scenes])
    cameras = np.array([scene["cameras"] for scene in scenes], np.float32)
    return frames, cameras.reshape(len(scenes), -1, 5)


def assert_same_as_tensorflow(files: TensorFlowFiles, path: Path) -> None:
    frames, cameras = decoded(path)
    their_frames, their_cameras = files.seen(path)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, their_frames)
    np.testing.assert_array_equal(cameras.view(np.uint32), their_cameras.view(np.uint32))


def test_we_read_what_tensorflow_writes(tensorflow_files: TensorFlowFiles) -> None:
    for path in [*tensorflow_files.theirs, tensorflow_files.zipped]:
        assert_same_as_tensorflow(tensorflow_files, path)


def test_tensorflow_reads_what_we_write(tensorflow_files: TensorFlowFiles) -> None:
    for path in tensorflow_files.ours:
        assert_same_as_tensorflow(tensorflow_files, path)
        np.testing.assert_array_equal(tensorflow_files.seen(path)[1], tensorflow_files.our_cameras)


def test_genuine_pixels_are_tensorflows(genuine: Path, tensorflow_files: TensorFlowFiles) -> None:
    assert_same_as_tensorflow(tensorflow_files, tensorflow_files.genuine)


def test_genuine_file_comes_back_byte_for_byte(genuine: Path, tmp_path: Path) -> None:
    (record,) = read_records(genuine)
    scene = decode_example(record)
    assert simplejpeg.decode_jpeg_header(scene["frames"][0]) == (64, 64, "YCbCr", "420")
    cameras = np.array(scene["cameras"], np.float32).reshape(15, 5)
    write_records(tmp_path / "again", [encode_scene(scene["frames"], cameras)])
    assert (tmp_path / "again").read_bytes() == genuine.read_bytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_records_come_back_and_files_are_reproducible(tmp_path: Path, zipped: bool) -> None:
    paths = [tmp_path / "one", tmp_path / "two.tfrecord.gz"]
    for path in paths:
        write_records(path, iter(RECORDS), gzip=zipped)
        assert list(read_records(path)) == RECORDS
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(b"\x1f\x8b") == zipped
    if zipped:
        assert paths[0].read_bytes()[4:8] == bytes(4)  # gzip's time


def test_a_plain_record_whose_length_looks_like_gzip_is_read(tmp_path: Path) -> None:
    for length in (0x8B1F, 0x088B1F):
        write_records(tmp_path / "file", [b"x" * length, b"y"])
        assert (tmp_path / "file").read_bytes().startswith(b"\x1f\x8b")
        assert [len(record) for record in read_records(tmp_path / "file")] == [length, 1]


def test_each_changed_byte_is_found_in_its_record(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_records(path, RECORDS)
    whole = path.read_bytes()
    assert len(whole) == ENDS[-1]
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        number = next(i for i, end in enumerate(ENDS) if place < end)
        start = [0, *ENDS][number]
        found = []
        with pytest.raises(RecordError, match=rf"{path}: record {number} \(from 0\) at byte {start}: bad checksum"):
            found.extend(read_records(path))  # keeps what comes before the error
        assert found == RECORDS[:number]


def test_each_cut_is_found_in_its_record(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_records(path, RECORDS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length in [0, *ENDS]:
            assert len(list(read_records(path))) == [0, *ENDS].index(length)
            continue
        number = next(i for i, end in enumerate(ENDS) if length < end)
        with pytest.raises(RecordError, match=rf"record {number} \(from 0\) at byte {[0, *ENDS][number]}: cut short"):
            list(read_records(path))


def test_damaged_gzip_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    write_records(path, [bytes(range(256)) * 9], gzip=True)
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole[:5], whole[:30] + b"\xff" * 30 + whole[60:], whole[:-6] + b"wrong!"):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=rf"{path}: record \d \(from 0\) at byte \d+: .") as error:
            list(read_records(path))
        assert "\n" not in str(error.value)
    path.write_bytes(gzip.compress(b"no records at all"))
    with pytest.raises(RecordError, match=r"record 0 .* bad checksum of its length"):
        list(read_records(path))


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    def failing():
        yield b"one"
        raise RuntimeError("stop")

    for zipped in (False, True):
        with pytest.raises(RuntimeError, match="stop"):
            write_records(tmp_path / "file", failing(), gzip=zipped)
        assert list(tmp_path.iterdir()) == []
    write_records(tmp_path / "file", RECORDS)
    with pytest.raises(RuntimeError, match="stop"):
        write_records(tmp_path / "file", failing())
    assert list(read_records(tmp_path / "file")) == RECORDS
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as file:
        file.write(b"half")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"half"


def test_frames_and_cameras_must_agree() -> None:
    with pytest.raises(ValueError, match=r"2 frames with cameras of shape \(3, 5\), expected \(2, 5\)"):
        encode_scene([b"", b""], np.zeros((3, 5), np.float32))


def test_what_is_no_example_is_refused() -> None:
    for record in (b"\xff", b"\x0a\x05ab"):
        with pytest.raises(RecordError, match=r"no serialized tf\.train\.Example"):
            decode_example(record)
    assert decode_example(b"") == {}


def test_jpeg_is_close_to_its_frame_and_the_same_each_time() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    frame = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(90)), axis=-1)
    jpeg = encode_jpeg(frame)
    assert jpeg == encode_jpeg(np.stack([frame, frame], axis=1)[:, 0])  # also of an array that is not contiguous
    assert np.abs(decode_jpeg(jpeg).transpose(1, 2, 0).astype(int) - frame).mean() < 2
    assert simplejpeg.decode_jpeg_header(jpeg) == (64, 64, "YCbCr", "420")


def test_tensorflow_is_not_imported() -> None:
    assert "tensorflow" not in sys.modules
