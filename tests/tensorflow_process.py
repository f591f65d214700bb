"""Write and read TFRecords with TensorFlow itself, in a process of its own: `tensorflow_process.py JOBS.json`.

JOBS is {"write": [{path, pixels, views, scenes, gzip}], "read": [{path, pixels, views, gzip}],
"resize": [{path, size}]}.
Reading follows DeepMind's reader, and saves frames (scenes, views, h, w, 3) and cameras (scenes, views, 5) as it sees
them to path + ".npz".
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import numpy as np
import tensorflow as tf


def write(path: str, pixels: int, views: int, scenes: int, gzip: bool) -> None:
    random = np.random.default_rng(len(path))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(path, "GZIP" if gzip else "") as writer:
        for _ in range(scenes):
            # Blocks with hard edges, and noise: what decoders differ on.
            blocks = random.integers(0, 256, (views, pixels // 4, pixels // 4, 3)).repeat(4, 1).repeat(4, 2)
            frames = np.clip(blocks + random.normal(0, 10, blocks.shape), 0, 255).astype(np.uint8)
            jpegs = [tf.io.encode_jpeg(frame).numpy() for frame in frames]
            cameras = random.normal(size=views * 5).astype(np.float32)
            feature = {
                "frames": tf.train.Feature(bytes_list=tf.train.BytesList(value=jpegs)),
                "cameras": tf.train.Feature(float_list=tf.train.FloatList(value=cameras)),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def read(path: str, pixels: int, views: int, gzip: bool) -> None:
    schema = {
        "frames": tf.io.FixedLenFeature([views], tf.string),
        "cameras": tf.io.FixedLenFeature([views * 5], tf.float32),
    }
    scenes = [
        tf.io.parse_single_example(record, schema)
        for record in tf.data.TFRecordDataset(path, compression_type="GZIP" if gzip else "")
    ]
    frames = [[tf.io.decode_jpeg(jpeg).numpy() for jpeg in scene["frames"]] for scene in scenes]
    cameras = [scene["cameras"].numpy().reshape(views, 5) for scene in scenes]
    shape = (len(scenes), views, pixels, pixels, 3)
    np.savez(path + ".npz", frames=np.array(frames).reshape(shape), cameras=np.array(cameras))


def resize(path: str, size: int) -> None:
    """The frames that `read` saved, at another size, each pixel from all that it covers, to path + ".SIZE.npz"."""
    with np.load(path + ".npz") as arrays:
        frames = tf.image.convert_image_dtype(arrays["frames"].reshape(-1, *arrays["frames"].shape[2:]), tf.float32)
    resized = tf.image.resize(frames, (size, size), method="bilinear", antialias=True)
    np.savez(f"{path}.{size}.npz", frames=resized.numpy())


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    for job in jobs["write"]:
        write(**job)
    for job in jobs["read"]:
        read(**job)
    for job in jobs["resize"]:
        resize(**job)
