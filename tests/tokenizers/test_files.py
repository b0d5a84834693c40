"""Files that tokenizers are kept in: their forms, and what is wrong with broken ones."""

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modeloutputs.errors import CheckpointNotFoundError, FileFormatError, ModelOutputsError
from modeloutputs.tokenizers import BertTokenizer, GPT2Tokenizer, PreTrainedTokenizer

from .tiny import BY_NAME, VOCABULARY, load_peer, write_config, write_vocabulary


def refuses(
    folder: Path, error: type[ModelOutputsError], message: str, cls: type[PreTrainedTokenizer] = BertTokenizer
) -> None:
    with pytest.raises(error, match=message) as caught:
        cls.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_lines_of_a_vocabulary_may_end_as_they_like(ending: str, tmp_path: Path) -> None:
    text = (ending or "\n").join(VOCABULARY) + ending
    (tmp_path / "vocab.txt").write_bytes(text.encode())
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.vocab_size == len(VOCABULARY)
    assert tokenizer.convert_ids_to_tokens([len(VOCABULARY) - 1]) == ["c"]


def test_a_vocabulary_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe[PAD]")
    refuses(tmp_path, FileFormatError, r"vocab\.txt' is not text in UTF-8")


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json"])
def test_a_git_lfs_pointer_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 231508\n")
    refuses(tmp_path, FileFormatError, rf"{name}' is a Git LFS pointer, .*run `git lfs pull` first$")


@pytest.mark.parametrize("token", [{"lstrip": True}, {"content": 3}, 5, ["[PAD]"]])
def test_a_special_token_that_is_no_text(token: Any, tmp_path: Path) -> None:
    refuses(write_vocabulary(tmp_path, pad_token=token), FileFormatError, "pad_token in .* is .*; expected a text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ('{"model": ', "is not valid JSON"),
        ("[]", "should hold a JSON object, and holds a list"),
        ("{}", "is not a tokenizer"),
        ('{"version": "1.0", "model": {"type": "Unheard"}}', "is not a tokenizer"),
        ('{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"a": -1}}}', "gives 'a' the id -1; expected a"),
        ("[" * 100_000, "is not valid JSON"),
    ],
    ids=["empty", "cut off", "list", "object", "unknown model", "negative id", "nested too deep"],
)
def test_a_corrupt_tokenizer_file(text: str, message: str, tmp_path: Path) -> None:
    (write_vocabulary(tmp_path) / "tokenizer.json").write_text(text)
    refuses(tmp_path, FileFormatError, rf"tokenizer\.json' {message}")


@pytest.mark.parametrize("length", [1, 100, 1000, -2])
def test_a_tokenizer_file_that_is_cut_off(length: int, tmp_path: Path) -> None:
    BertTokenizer.from_pretrained(write_vocabulary(tmp_path)).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8")[:length], encoding="utf-8")
    refuses(tmp_path, FileFormatError, r"tokenizer\.json' is not valid JSON")


def test_a_corrupt_configuration(tmp_path: Path) -> None:
    (write_vocabulary(tmp_path) / "tokenizer_config.json").write_text("{")
    refuses(tmp_path, FileFormatError, r"tokenizer_config\.json' is not valid JSON")


@pytest.mark.parametrize("older", [True, False])
def test_tokens_added_to_a_vocabulary_keep_their_ids(older: bool, tmp_path: Path) -> None:
    size = len(VOCABULARY)
    flags = {"lstrip": False, "rstrip": False, "single_word": False}
    write_vocabulary(tmp_path)
    if older:
        (tmp_path / "added_tokens.json").write_text(json.dumps({"[NEW]": size + 1, "other": size}))
    else:
        new = {"content": "[NEW]", "normalized": False, "special": True, **flags}
        other = {"content": "other", "normalized": True, "special": False, **flags}
        write_config(tmp_path, added_tokens_decoder={str(size + 1): new, str(size): other})
    both = BertTokenizer.from_pretrained(tmp_path), load_peer("BertTokenizer", tmp_path)
    for tokenizer in both:
        assert tokenizer("a OTHER [NEW]", add_special_tokens=False)["input_ids"] == [
            VOCABULARY.index("a"),
            size,
            size + 1,
        ]
        assert tokenizer.decode([size, size + 1], skip_special_tokens=True) == ("other [new]" if older else "other")
        assert len(tokenizer) == size + 2
    both[0].save_pretrained(tmp_path / "saved")
    assert BertTokenizer.from_pretrained(tmp_path / "saved")("[NEW]").input_ids == [2, size + 1, 3]


def test_tokens_added_at_ids_that_do_not_follow_are_refused(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"[NEW]": 70}))
    refuses(tmp_path, FileFormatError, r"gives the added token '\[NEW\]' the id 70, and in its vocabulary it has 20$")


def test_an_older_file_of_special_tokens_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = BY_NAME["gpt2 files"].write(tmp_path)
    described = {"content": "!", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": described, "eos_token": "#"}))
    ours, theirs = GPT2Tokenizer.from_pretrained(folder), load_peer("GPT2Tokenizer", folder)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert (ours.pad_token, ours.eos_token, ours.bos_token) == ("!", "#", "<|endoftext|>")
    assert ours("a ! # b").input_ids == theirs("a ! # b")["input_ids"]


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_a_byte_pair_encoding_that_lacks_a_file(missing: str, tmp_path: Path) -> None:
    BY_NAME["gpt2 files"].write(tmp_path)
    (tmp_path / missing).unlink()
    refuses(tmp_path, CheckpointNotFoundError, rf"has neither tokenizer\.json nor {missing}$", GPT2Tokenizer)


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        ("h e\nhel\n", r"line 2 of '.*merges\.txt' is 'hel'; expected two tokens with a space between"),
        ("a b c\n", r"line 1 of '.*merges\.txt' is 'a b c'; expected two tokens with a space between"),
        ("\n\n", r"line 1 of '.*merges\.txt' is ''; expected two tokens"),
        ("no such\n", r"vocab\.json and merges\.txt of '.*' are not a byte-pair encoding: .*no"),
    ],
)
def test_merges_that_are_none(merges: str, message: str, tmp_path: Path) -> None:
    BY_NAME["gpt2 files"].write(tmp_path)
    (tmp_path / "merges.txt").write_text(merges)
    refuses(tmp_path, FileFormatError, message, GPT2Tokenizer)


@pytest.mark.parametrize(("number", "said"), [('"b"', "'b'"), ("-1", "-1"), ("1.5", "1.5"), ("true", "True")])
def test_a_vocabulary_of_no_ids(number: str, said: str, tmp_path: Path) -> None:
    BY_NAME["gpt2 files"].write(tmp_path)
    (tmp_path / "vocab.json").write_text(f'{{"a": {number}}}')
    message = rf"vocab\.json' gives 'a' the id {said}; expected a whole number from 0$"
    refuses(tmp_path, FileFormatError, message, GPT2Tokenizer)
    write_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text(f'{{"a": {number}}}')
    refuses(tmp_path, FileFormatError, message.replace("vocab", "added_tokens"))


@pytest.mark.parametrize("described", [{"first": "[NEW]"}, {"-1": "[NEW]"}, ["[NEW]"], {"20": 3}])
def test_added_tokens_that_are_none(described: Any, tmp_path: Path) -> None:
    refuses(write_vocabulary(tmp_path, added_tokens_decoder=described), FileFormatError, "added")


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_lines_of_merges_may_end_as_they_like(ending: str, folders: dict[str, Path], tmp_path: Path) -> None:
    BY_NAME["gpt2 files"].write(tmp_path)
    lines = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "merges.txt").write_bytes(((ending or "\n").join(lines) + ending).encode())
    expected = GPT2Tokenizer.from_pretrained(folders["gpt2 files"])
    assert GPT2Tokenizer.from_pretrained(tmp_path)("Hello world").input_ids == expected("Hello world").input_ids


# -- files that the library itself fails on, or reads as something else -----------------------------------------------


def written(folder: Path, name: str, change: Any) -> Path:
    """Write a tokenizer.json of a kind, changed."""
    kind = BY_NAME[name]
    kind.cls.from_pretrained(kind.write(folder)).save_pretrained(folder)
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(state)
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


def token(text: str, number: Any) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    return {"id": number, "content": text, "special": True, **flags}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda it: it["post_processor"].update(special_tokens={}),
            "is not a tokenizer: the tokenizers library stopped",
        ),
        (lambda it: it["model"]["vocab"].update(zz=2**31), "gives 'zz' the id 2147483648; ids up to 16777215 are"),
        (lambda it: it["added_tokens"].append(token("zz", 2**31)), "gives 'zz' the id 2147483648; ids up to 16777215"),
        (lambda it: it["added_tokens"].append(token("zz", -1)), "gives 'zz' the id -1; expected a whole number"),
        (
            lambda it: it["added_tokens"].append(token("zz", "9")),
            "gives 'zz' the id '9'; expected a whole number from 0",
        ),
        (lambda it: it["model"]["vocab"].update({"\ud800": 90}), "is not a tokenizer: "),
        (lambda it: it.update(decoder={"type": "Unheard"}), "is not a tokenizer: "),
    ],
)
def test_a_tokenizer_file_that_the_library_fails_on(change: Any, message: str, tmp_path: Path) -> None:
    refuses(written(tmp_path, "bert", change), FileFormatError, message)


@pytest.mark.parametrize("name", ["bert", "gpt2 json", "llama 2"])
def test_added_tokens_have_the_ids_that_the_file_gives_them(name: str, tmp_path: Path) -> None:
    """The library numbers them itself."""
    folder = written(tmp_path, name, lambda it: it["added_tokens"].append(token("<far>", 900)))
    tokenizer = BY_NAME[name].cls.from_pretrained(folder)
    assert 900 in tokenizer("a <far>").input_ids
    assert (tokenizer.convert_tokens_to_ids("<far>"), len(tokenizer)) == (900, 901)
    assert tokenizer.decode([900], skip_special_tokens=True) == ""
    assert tokenizer.add_tokens("next") == 1
    assert tokenizer.convert_tokens_to_ids("next") == 901
    tokenizer.save_pretrained(tmp_path / "saved")
    again = BY_NAME[name].cls.from_pretrained(tmp_path / "saved")
    assert again("a <far> next").input_ids == tokenizer("a <far> next").input_ids


def test_a_random_tokenizer_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """Values of all types, in all places."""
    values: list[Any] = [None, True, -1, 0, 2**31, 2**63, 1.5, "", "\ud800", "x" * 99, [], {}, ["a"], {"type": "BPE"}]
    choose = random.Random(0)
    for name in ("bert", "llama 3"):
        written(tmp_path, name, lambda it: None)
        content = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
        places = [it for it in walk(json.loads(content)) if it[:2] != ("model", "vocab") or choose.random() < 0.05]
        for place in choose.sample(places, min(60, len(places))):
            state = json.loads(content)
            holder = state
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = choose.choice(values)
            (tmp_path / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
            with contextlib.suppress(ModelOutputsError):
                tokenizer = PreTrainedTokenizer.from_pretrained(tmp_path)
                tokenizer.decode(tokenizer("hello \u2603 a").input_ids)
                tokenizer.save_pretrained(tmp_path / "saved")


def walk(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from walk(inner, (*place, key))


def test_all_files_are_saved_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = BertTokenizer.from_pretrained(write_vocabulary(tmp_path / "first"))
    first.save_pretrained(tmp_path / "saved")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    other = BertTokenizer.from_pretrained(write_vocabulary(tmp_path / "second", [*VOCABULARY, "other"]))
    write = Path.write_text

    def fail(path: Path, *content: Any, **options: Any) -> int:
        if "tokenizer_config" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, *content, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="No space left on device"):
        other.save_pretrained(tmp_path / "saved")
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before
