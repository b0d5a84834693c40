"""Git LFS pointers are told from other files."""

from pathlib import Path

import pytest

from modeloutputs.errors import FileFormatError
from modeloutputs.files.git_lfs import check_not_lfs_pointer

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90868376\n"


def test_a_pointer_is_refused_with_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(POINTER)
    with pytest.raises(FileFormatError) as caught:
        check_not_lfs_pointer(tmp_path / "vocab.txt")
    assert str(caught.value) == (
        f"'{tmp_path}/vocab.txt' is a Git LFS pointer, not the file itself; run `git lfs pull` first"
    )


@pytest.mark.parametrize("content", ["", "version", POINTER[1:], POINTER[:20], "[PAD]\n" + POINTER])
def test_other_files_are_not(content: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    check_not_lfs_pointer(tmp_path / "file")
