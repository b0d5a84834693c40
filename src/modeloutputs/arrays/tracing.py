"""Whether a compiler is tracing the running code. Imports no framework."""

__all__ = ["in_compiler_trace"]


def in_compiler_trace() -> bool:
    """Return whether `torch.compile` or `torch.export` traces the call.

    Once PyTorch is imported, `modeloutputs.pytrees` puts PyTorch's own function in this one's place, which compilers
    replace by a constant. So it is called through this module, never imported from it by name.
    """
    return False
