"""Layers that were not asked for, in trees that take None for a leaf."""

__all__ = ["NOT_ASKED_FOR", "NotAskedFor"]


class NotAskedFor:
    """In PyTorch's trees the place of a layer that was not asked for: a node without leaves, rebuilt as None.

    None itself is a leaf there, and one that `vmap`, `grad` and all that map over tensors refuse.
    """


NOT_ASKED_FOR = NotAskedFor()
