#!/bin/sh
# Train on every CUDA device of this machine, or of several machines, else on the CPU.
#
#   sh gpu.sh DATASET_DIR [options of run-gqn.py]
#   sh gpu.sh --check DATASET_DIR [options of scripts/benchmark.py check]    try what needs a device, see docs/gpus.md
#
# Several machines: run it on each, with NNODES (how many), NODE_RANK (0, 1, ...) and MASTER_ADDR (address of machine 0);
# MASTER_PORT if 29500 is taken.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
usage="usage: sh gpu.sh [--check] DATASET_DIR [options]"
check=
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
if [ $# -lt 1 ]; then
    echo "$usage" >&2
    exit 2
fi
data=$1
shift
if [ ! -d "$data" ] && [ "${data%:endless}" = "$data" ]; then
    echo "gpu.sh: $data: no such folder; $usage" >&2
    exit 2
fi
if [ -n "${PYTHON:-}" ]; then
    python=$PYTHON
elif [ -x "$here/.venv/bin/python" ]; then
    python=$here/.venv/bin/python
else
    python=python3
fi
if [ -n "$check" ]; then
    exec "$python" "$here/scripts/benchmark.py" check --data "$data" "$@"
fi
devices=$("$python" -c 'import torch; print(torch.cuda.device_count())')
if [ "$devices" -eq 0 ]; then
    echo "gpu.sh: no CUDA device found: training on the CPU" >&2
    exec "$python" "$here/run-gqn.py" --data "$data" --preset paper --device cpu "$@"
fi
nodes=${NNODES:-1}
echo "gpu.sh: training on $devices CUDA device(s) on each of $nodes machine(s)" >&2
if [ "$nodes" -eq 1 ]; then
    set -- --standalone --nproc-per-node "$devices" \
        "$here/run-gqn.py" --data "$data" --preset paper --device cuda --workers 4 "$@"
else
    set -- --nnodes "$nodes" --node-rank "${NODE_RANK:?gpu.sh: NODE_RANK, the number of this machine, is not set}" \
        --master-addr "${MASTER_ADDR:?gpu.sh: MASTER_ADDR, the address of machine 0, is not set}" \
        --master-port "${MASTER_PORT:-29500}" --nproc-per-node "$devices" \
        "$here/run-gqn.py" --data "$data" --preset paper --device cuda --workers 4 "$@"
fi
exec "$python" -m torch.distributed.run "$@"
