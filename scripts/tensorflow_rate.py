"""Print the scenes a second that tf.data decodes by one thread, for scripts/benchmark.py: FILE ... VIEWS REPEATS."""

import os
import sys
import time

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import tensorflow as tf


def main() -> None:
    *files, views, repeats = sys.argv[1:]
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    schema = {
        "frames": tf.io.FixedLenFeature([int(views)], tf.string),
        "cameras": tf.io.FixedLenFeature([int(views) * 5], tf.float32),
    }

    def decode(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scene = tf.io.parse_single_example(record, schema)
        # Unrolled over the views, which is faster than the published reader's tf.map_fn.
        return tf.stack([tf.io.decode_jpeg(scene["frames"][v]) for v in range(int(views))]), scene["cameras"]

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    scenes = tf.data.TFRecordDataset(files).map(decode).with_options(options)
    rates = []
    for _ in range(int(repeats) + 1):  # the first traces the graph
        begun, count = time.perf_counter(), 0
        for _ in scenes:
            count += 1
        rates.append(count / (time.perf_counter() - begun))
    print(max(rates[1:]))


if __name__ == "__main__":
    main()
