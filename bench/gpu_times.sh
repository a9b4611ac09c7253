#!/usr/bin/env bash
# What a training step takes, and a whole run, on the device that is here:
#     bench/gpu_times.sh OUT DATA_DIR        (DATA_DIR holds flowers-102/)
# OUT gets, each as it is measured: steps.txt (milliseconds a step, augmentation and CutMix in it), long/ (the log and the
# evaluation of 800 epochs), benchmark.json (beside the report's code).
# SHORT, LONG: epochs of the first and of the second; ROUNDS: of the third. PYTHON: the interpreter. To try it on two CPU
# cores, without photos: SHORT=1 LONG=1 ROUNDS=1 DATASET=synthetic-30 bench/gpu_times.sh OUT .
set -u
mkdir -p "$1"
out=$(realpath "$1") photos=$(realpath "$2") python=${PYTHON:-python3} dataset=${DATASET:-flowers102}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() {  # NAME SCRIPT FLAG...: trains, and appends the median step of its epochs to steps.txt
    local name=$1 script=$2
    shift 2
    $python "$script" --dataset "$dataset" --data-dir "$photos" --out "$work/$name" "$@" > "$out/$name.txt" 2>&1 || tail -n 1 "$out/$name.txt"
    $python - "$work/$name/log.jsonl" "$name" <<'END' | tee -a "$out/steps.txt"
import json, math, statistics, sys
header, *rows = map(json.loads, open(sys.argv[1]))
steps = math.ceil(header["splits"]["train"] / header["flags"]["batch_size"])
step = statistics.median(row["seconds"] for row in rows[1:] or rows) / steps
print(f"{sys.argv[2]}: {1000 * step:.2f} ms a step of {header['flags']['batch_size']}, {header['processor']}, "
      f"{header['precision']}, commit {header['commit']}")
END
}

short=(--epochs "${SHORT:-20}")
stage autoencoder-128 train_autoencoder.py --batch-size 128 "${short[@]}"
stage autoencoder-64 train_autoencoder.py "${short[@]}"
stage classifier-128 train_classifier.py --batch-size 128 "${short[@]}"
stage classifier-64 train_classifier.py "${short[@]}"
stage pooled-64 train_classifier.py --head pooled "${short[@]}"

start=$SECONDS
stage long train_classifier.py --head pooled --epochs "${LONG:-800}" --learning-rate 0.001 --smallest-crop 0.15
mkdir -p "$out/long"
cp "$work/long/log.jsonl" "$out/long/"
echo "long: $((SECONDS - start)) s from start to classifier.pt" | tee -a "$out/steps.txt"
for pass in cold cached; do
    start=$SECONDS
    $python evaluate.py --classifier "$work/long/classifier.pt" --data-dir "$photos" --out "$out/long" > "$out/evaluate.txt" 2>&1
    echo "evaluate, $pass: $((SECONDS - start)) s; $(grep Over "$out/evaluate.txt")" | tee -a "$out/steps.txt"
done
$python -m bench.benchmark --rounds "${ROUNDS:-8}" --results "$out" > "$out/benchmark.txt" 2>&1 || tail -n 1 "$out/benchmark.txt"
