#!/usr/bin/env bash
# Every test, those of the GPU that is here among them, in 5 minutes on 16 cores:
#     bench/gpu_check.sh OUT [WORKERS]
# OUT/tests.txt grows as tests end. PYTHON names the interpreter that has what tests/requirements.txt lists.
set -u
mkdir -p "$1"
out=$(realpath "$1")
cd "$(dirname "$0")/.."
${PYTHON:-python3} -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())' \
    | tee "$out/device.txt"
# the tests that have a device first, so that they are done if time ends
OMP_NUM_THREADS=1 timeout 285 ${PYTHON:-python3} -m pytest -v --tb=short -n "${2:-8}" --dist loadscope --no-loadscope-reorder \
    -p no:cacheprovider -o tmp_path_retention_policy=failed \
    tests/test_devices.py tests/test_inverse_maxpool.py tests/test_augment.py tests/test_faults.py tests \
    > "$out/tests.txt" 2>&1
status=$?
grep -E "(^| )(FAILED|ERROR) |^=+ .* =+$" "$out/tests.txt" | tail -n 40  # also where time ended before the summary
echo "$(grep -c " PASSED " "$out/tests.txt") passed, exit status $status (124: time ended)"
exit $status
