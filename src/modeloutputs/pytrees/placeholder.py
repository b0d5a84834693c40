"""The placeholder for layers that were not requested, in trees where None is a leaf."""

__all__ = ["PLACEHOLDER", "Placeholder"]


class Placeholder:
    """A node without leaves that replaces None in a tuple of layers and is rebuilt as None.

    None itself is a leaf of PyTorch's trees, which `vmap`, `grad` and other maps over tensors refuse.
    """


PLACEHOLDER = Placeholder()
