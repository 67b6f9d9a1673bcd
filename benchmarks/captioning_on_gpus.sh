#!/usr/bin/env bash
# Captioning on a GPU cluster: captions per GPU-hour held, and the three measurements of the caption stage.
#
#   bash benchmarks/captioning_on_gpus.sh ROWS_RESULT [PRESET]
#
# ROWS_RESULT is a result of `dermray ingest` on storage that all nodes share; RAY_ADDRESS names the cluster. GPUs are
# held from the first request for one to the last row, start-up included. For comparison: 32,068 captions per GPU-hour
# were published for Qwen3-VL-8B with six 448 px frames a caption. Not run by us: no GPU was at hand.
set -euo pipefail
rows=$1 preset=${2:-caption/qwen3_vl}
output=$(dirname "$rows")/caption-benchmark-$(date +%s)
replicas=$(python -c "import ray; ray.init(log_to_driver=False); print(int(ray.cluster_resources().get('GPU', 0)))" | tail -1)
[ "$replicas" -gt 0 ] || { echo "the cluster has no GPU"; exit 1; }
dermray caption --config "$preset" rows="$rows" output="$output" engine.replicas="$replicas"
python - "$output" "benchmarks/results/captioning_on_gpus.md" "$preset" <<'PY'
import datetime, json, pathlib, subprocess, sys
output, target, preset = sys.argv[1:]
manifest = json.loads(pathlib.Path(output, "manifest.json").read_text())
told = manifest["metrics"]["captioning"]["last_start"]
hours = told["gpu_seconds_held"] / 3600
gpus = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout
text = f"""# Captioning on GPUs
{datetime.date.today()}, {manifest["gpus"]:.0f} GPUs ({gpus.splitlines()[0] if gpus else "unknown"}), preset {preset}

{told["rows"]} captions, {told["captions_per_second"]} a second steady, start-up {told["start_up_seconds"]} s
**{told["rows"] / hours:.0f} captions per GPU-hour held**, start-up included
"""
pathlib.Path(target).write_text(text)
print(text)
PY
model=$(python -c "import yaml, sys; print(yaml.safe_load(open('jobs/configs/' + sys.argv[1] + '.yaml'))['captioner'])" "$preset")
python -m benchmarks.captioning_over_vllm "$model" --preset "$preset" | tee -a benchmarks/results/captioning_on_gpus.md
python -m benchmarks.orchestration_limit | tee -a benchmarks/results/captioning_on_gpus.md
python -m benchmarks.replica_efficiency | tee -a benchmarks/results/captioning_on_gpus.md
