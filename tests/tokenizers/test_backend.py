"""What the library leaves open: its errors and panics in one line, and ids after those that are left out."""

import pytest

from modeloutputs.errors import FileFormatError, InputError
from modeloutputs.tokenizers.backend import LibraryErrors, add_to_vocabulary, highest_id, place_tokens

library = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
ERRORS = LibraryErrors(InputError, "it failed")


class PanicException(BaseException):
    """Stands for what Rust's panics arrive as, a class that cannot be imported."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Exception("first line\nsecond line"), "it failed: first line"),
        (PanicException("no entry\nfound"), "it failed: the tokenizers library stopped with 'no entry'"),
        (PanicException(""), "it failed: the tokenizers library stopped with ''"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), "it failed: one holds a lone surrogate, half a character"),
        (TypeError("TextEncodeInput must be Union"), "it failed: one holds a lone surrogate, half a character"),
        (FileFormatError("its own"), "its own"),
    ],
)
def test_errors_of_the_library_become_one_line(error: BaseException, message: str) -> None:
    with pytest.raises((InputError, FileFormatError)) as caught, ERRORS:
        raise error
    assert str(caught.value) == message


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), ERRORS:
        raise error


def test_new_tokens_get_the_ids_after_the_highest() -> None:
    backend = library.Tokenizer(library.models.WordLevel({"a": 0, "b": 7}, unk_token="a"))
    assert highest_id(backend) == 7
    tokens = [library.AddedToken(text, special=text == "y") for text in ("x", "b", "y", "x")]
    backend = add_to_vocabulary(backend, tokens)
    assert backend.get_vocab() == {"a": 0, "b": 7, "x": 8, "y": 9}
    described = backend.get_added_tokens_decoder()
    assert {token.content: token.special for token in described.values()} == {"b": False, "x": False, "y": True}
    same = add_to_vocabulary(backend, [library.AddedToken("x", special=True)])
    assert same.get_added_tokens_decoder()[8].special


def test_a_list_of_pieces_leaves_no_ids_out() -> None:
    backend = library.Tokenizer(library.models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    with pytest.raises(FileFormatError, match="the added token 'x' has the id 9, which does not follow the vocabulary"):
        place_tokens(backend, {"x": 9})
