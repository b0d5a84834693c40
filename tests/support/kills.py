"""Processes that die at a chosen step while they change files, without cleaning up, as if they were killed."""

import itertools
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

KILLED = 9
CHANGES = ("replace", "unlink", "open", "chmod")
"""Functions of `os` that are called at each step of a change."""


def in_child(action: Callable[[], object]) -> int:
    """Do something in a forked process, which ends in a minute at most, and return its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the threads of frameworks are of no concern to file operations
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def is_killed_at(step: int, action: Callable[[], object], names: tuple[str, ...] = CHANGES) -> bool:
    """Do something in a process that dies before its call number `step`, from 0, of these functions of `os`.

    Returns:
        whether it came that far; else it is done with the action.
    """
    calls = itertools.count()

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == step:
                os._exit(KILLED)
            return function(*arguments, **options)

        return call

    def act() -> None:
        for name in names:
            setattr(os, name, dying(getattr(os, name)))
        action()

    status = os.waitstatus_to_exitcode(os.waitpid(in_child(act), 0)[1])
    assert status in (0, KILLED), "the action failed"
    return status == KILLED
