#!/bin/sh
# Turn the TFRecords of a dataset into torch shards; run again, it does what is missing.
set -eu

usage="usage: sh data.sh DATA_DIR BATCH [DATASET] [OPTION ...]
  DATA_DIR  folder that holds DATASET/train and DATASET/test with their TFRecords; shards go to DATASET/torch there
  BATCH     most scenes of a shard
  DATASET   by default shepard_metzler_5_parts
  OPTION    of scripts/tfrecord-converter.py, such as --workers 4, --shard 1/8, --allow-damaged; all of them: --help"

if [ "$#" -lt 2 ]; then
    printf '%s\n' "$usage" >&2
    exit 2
fi
case $2 in
'' | *[!0-9]* | 0)
    printf 'data.sh: BATCH is %s, not a positive whole number\n%s\n' "$2" "$usage" >&2
    exit 2
    ;;
esac

data_dir=$1
batch=$2
shift 2
dataset=shepard_metzler_5_parts
case ${1-} in
'' | -*) ;;
*)
    dataset=$1
    shift
    ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if [ -z "${PYTHON:-}" ] && [ ! -x "$python" ]; then
    python=python3
fi
# The package of this checkout, whether it is installed or not.
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "$python" "$root/scripts/tfrecord-converter.py" --batch "$batch" "$@" -- "$data_dir" "$dataset"
