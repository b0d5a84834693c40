"""Outputs in the machinery of the frameworks, beside transformers' class, flax.struct, TensorDict, tuples and dicts.

`python benchmarks/native.py [trees] [jit] [ddp] [concat] [files]`: all parts unless some are named. Each line is timed
beside the best peer that keeps names, which its end names; under it the others, how often all ran in turn, and by how
much two medians of our own call differed. Tuples and dicts are what is left when a container costs nothing: nobody's
target, but for what `jax.jit` returns.
"""

import importlib
import os
import sys
import time
import warnings

# Read when a framework is imported, as the parts do.
SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",  # else calls overtake the additions in them, and wait in a queue
}
PARTS = ("trees", "jit", "ddp", "concat", "files")


def main() -> None:
    """Print the tables of the parts asked for."""
    os.environ |= SETTINGS
    warnings.simplefilter("ignore")
    unknown = [part for part in sys.argv[1:] if part not in PARTS]
    if unknown:
        raise SystemExit(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    from harness import print_table
    from native_race import shown_noise

    start = time.perf_counter()
    for part in sys.argv[1:] or PARTS:
        for title, rows in importlib.import_module(f"native_{part}").tables():
            print_table(title, rows)
            print()
    print(f"{shown_noise()}; {time.perf_counter() - start:.0f} s in all, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
