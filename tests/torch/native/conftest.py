"""These tests import PyTorch as they are collected: where it is not installed, they are left out."""

from ...support.needs import is_installed

collect_ignore_glob = [] if is_installed("torch") else ["test_*.py"]
