"""Times decoding beside transformers' generate, on the same random weights, in turn; prints ratios."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

import modeloutputs.torch as ours
from harness import Row, print_table, processor, time_in_turn
from modeloutputs.torch.products import this_processor

warnings.filterwarnings("ignore", module="transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

THREADS = 2
ROUNDS = 3
SMALL = {"vocab_size": 8000, "n_positions": 1024, "n_embd": 256, "n_layer": 4, "n_head": 4}


@dataclass(frozen=True)
class Pair:
    """The same weights in both libraries."""

    ours: Any
    theirs: Any


def make_pair(name: str, config: Any) -> Pair:
    """Make a model with random weights in the peer, and load it here from what the peer saves."""
    torch.manual_seed(0)
    theirs = getattr(transformers, name)(config).eval()
    theirs.generation_config.eos_token_id = None  # every contender decodes as many tokens
    theirs.generation_config.forced_eos_token_id = None
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        mine = getattr(ours, name).from_pretrained(folder)
    return Pair(mine, theirs)


def generators(pair: Pair, ids: torch.Tensor, new: int, beams: int = 1) -> dict[str, Callable[[], torch.Tensor]]:
    """Return both libraries' ways to go on from the same prompts by `new` tokens."""
    mask = torch.ones_like(ids)

    def mine() -> torch.Tensor:
        return pair.ours.generate(ids, mask, max_new_tokens=new, num_beams=beams, eos_token_id=()).sequences

    def theirs() -> torch.Tensor:
        return pair.theirs.generate(
            ids, attention_mask=mask, max_new_tokens=new, num_beams=beams, do_sample=False, pad_token_id=0
        )

    return {"ours": mine, "theirs": theirs}


def check_same_tokens(contenders: dict[str, Callable[[], torch.Tensor]]) -> None:
    """Refuse to time two that do not do the same."""
    a, b = (call() for call in contenders.values())
    if not torch.equal(a, b):
        agree = float((a == b).float().mean()) if a.shape == b.shape else 0.0
        Console().print(f"[yellow]tokens agree at {agree:.0%} of positions: near ties fall either way[/]")


def compare(what: str, pair: Pair, ids: torch.Tensor, new: int, target: float, beams: int = 1) -> Row:
    """Time one way to decode, per token of a row."""
    contenders = generators(pair, ids, new, beams)
    check_same_tokens(contenders)
    times = time_in_turn(contenders, rounds=ROUNDS, warmup=1)
    return Row(what, times["ours"] / new, times["theirs"] / new, target, faster=True)


def read_bandwidth(weights: list[torch.Tensor]) -> float:
    """Return bytes per second that this machine reads the weights with: each summed up, the best of several runs."""
    seconds: list[float] = []
    for _ in range(9):
        start = time.perf_counter()
        for weight in weights:
            weight.sum()
        seconds.append(time.perf_counter() - start)
    return sum(weight.nbytes for weight in weights) / min(seconds)


def print_floor(pair: Pair, row: Row) -> None:
    """Print what share of the memory's speed decoding reaches: each token has to read all weights but the tables."""
    read = [p for name, p in pair.ours.named_parameters() if "wpe" not in name]
    bandwidth = read_bandwidth([p.data for p in read])
    floor = sum(p.nbytes for p in read) / bandwidth
    share = floor / row.ours
    verdict = "[green]met[/]" if share >= 0.85 else "[red]missed[/]"
    print_line(
        f"memory floor {floor * 1e3:.1f} ms a token ({bandwidth / 1e9:.0f} GB/s read): "
        f"ours reaches {share:.0%} of it, the peer {floor / row.peer:.0%}; asked ≥ 85% {verdict}"
    )


def print_line(text: str) -> None:
    Console(highlight=False, width=120).print(text)


def time_at(model: Any, cache_of: Callable[[], Any], length: int, steps: int) -> float:
    """Return seconds per token of decoding that goes on from `length` cached positions."""
    ids = torch.ones(1, 1, dtype=torch.int64)
    prefix = torch.ones(1, length, dtype=torch.int64)
    with torch.no_grad():
        cache = model(prefix, past_key_values=cache_of(), use_cache=True).past_key_values
        seconds: list[float] = []
        for _ in range(steps):
            start = time.perf_counter()
            cache = model(ids, past_key_values=cache, use_cache=True).past_key_values
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def prefill(pair: Pair, length: int, rounds: int) -> Row:
    """Time the call that reads a prompt, for the logits of its last position."""
    ids = torch.randint(0, 50257, (1, length), generator=torch.Generator().manual_seed(0))

    def read(model: Any) -> Callable[[], object]:
        return lambda: model(ids, use_cache=True, logits_to_keep=1).logits

    with torch.no_grad():
        times = time_in_turn({"ours": read(pair.ours), "theirs": read(pair.theirs)}, rounds)
    asked = 0.60 if this_processor().convolves_well else 0.90
    return Row(f"GPT-2 124M, prompt of {length}", times["ours"], times["theirs"], asked)


def print_growth(pair: Pair) -> None:
    """Print how a token's time grows with the length of what is before it."""
    table = Table("time per token", "at 100", "at 900", "ratio", box=None)
    for name, model, cache_of in (
        ("ours", pair.ours, lambda: None),
        ("transformers", pair.theirs, transformers.DynamicCache),
    ):
        short, long = (time_at(model, cache_of, length, 30) for length in (100, 900))
        table.add_row(name, f"{short * 1e3:.2f} ms", f"{long * 1e3:.2f} ms", f"{long / short:.2f}")
    Console(highlight=False, width=120).print(table)


def print_allocation(model: Any) -> None:
    """Print how many bytes are allocated for a cache that grows token by token to 1,024, of those that it ends with."""
    buffers: dict[int, int] = {}
    kept: list[Any] = []  # so that no address comes twice
    ids = torch.ones(1, 1, dtype=torch.int64)
    with torch.no_grad():
        cache = model(torch.ones(1, 32, dtype=torch.int64)).past_key_values
        for _ in range(1024 - 32):
            cache = model(ids, past_key_values=cache).past_key_values
            for tensor in cache[0]:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in buffers:
                    buffers[storage.data_ptr()] = storage.nbytes()
                    kept.append(storage)
    ratio = sum(buffers.values()) / sum(tensor.nbytes for tensor in cache[0])
    verdict = "[green]met[/]" if ratio <= 2 else "[red]missed[/]"
    print_line(f"a cache grown from 32 to 1,024 tokens allocates {ratio:.2f} x its final bytes; asked ≤ 2 {verdict}")


def without_cache(model: Any, ids: torch.Tensor, new: int) -> torch.Tensor:
    """Decode greedily, computing all positions again for each token."""
    with torch.no_grad():
        for _ in range(new):
            logits = model(ids, use_cache=False, logits_to_keep=1).logits
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids


def main() -> None:
    torch.set_num_threads(THREADS)
    print_line(processor())
    rows: list[Row] = []
    gpt2 = make_pair("GPT2LMHeadModel", transformers.GPT2Config())
    ids = torch.randint(0, 50257, (8, 32), generator=torch.Generator().manual_seed(0))
    rows.append(compare("GPT-2 124M, prompt 32, 128 new, batch 1", gpt2, ids[:1], 128, 2.8))
    first = rows[0]
    rows.append(compare("the same, batch 8", gpt2, ids, 128, 2.2))
    small = make_pair("GPT2LMHeadModel", transformers.GPT2Config(**SMALL))
    rows.append(compare("4 layers, 256 wide, vocabulary 8,000", small, ids[:1] % 8000, 128, 3.2))
    size = {"encoder_layers": 6, "decoder_layers": 6, "d_model": 768, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072}
    heads = {"encoder_attention_heads": 12, "decoder_attention_heads": 12}
    bart = make_pair("BartForConditionalGeneration", transformers.BartConfig(**size, **heads, forced_eos_token_id=None))
    source = torch.randint(4, 50265, (1, 64), generator=torch.Generator().manual_seed(0))
    rows.append(compare("Bart-base, source 64, 64 new, greedy", bart, source, 64, 2.2))
    rows.append(compare("the same, 4 beams", bart, source, 64, 2.2, beams=4))
    print_table("Decoding, seconds per token (of each row)", rows, peer="transformers")
    print_table("Prompts, seconds", [prefill(gpt2, 512, 7)], peer="transformers")
    print_floor(gpt2, first)
    print_growth(gpt2)
    print_allocation(small.ours)
    with_cache = generators(gpt2, ids[:1], 256)["ours"]
    times = time_in_turn({"with": with_cache, "without": lambda: without_cache(gpt2.ours, ids[:1], 256)}, 1, 0)
    print_line(f"256 new tokens with a cache: {times['without'] / times['with']:.1f} x faster than without")


if __name__ == "__main__":
    main()
