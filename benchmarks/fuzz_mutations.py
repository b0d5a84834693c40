"""Changes to what files hold: to JSON by its structure, text by its lines, tensors by name, anything by its bytes.

Every function takes a random generator and what a file holds, and returns what it is to hold instead; the same
generator gives the same bytes in every process.
"""

import copy
import io
import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ["mutated"]

Mutation = Callable[[Random, bytes], bytes]

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 437955512\n"

# What stands where something else is expected: other types, numbers at the limits, text that cannot be encoded.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 100, 255, 0.5, -0.0, 1e-38, 1e308, float("nan"), float("inf"), 2.0),
    *(2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**18, 10**400),
    *("", " ", "a", "yes", "true", "int8", "float16", "gelu", "7", "[MASK]", "</s>", "é", "\0", "\u2028", "\ud800"),
    *("a" * 300, "a" * 70000, "../../secret", "/dev/zero", "model.safetensors", "\x1b[31m", "{{", "%s", "None"),
    *([], {}, [[]], [None], ["a"], [1, 2], {"a": 1}, {"": None}, {"0": "a", "1": "a"}, [{}], [["a", "b"]]),
    {"content": "a"},
    {"__type": "AddedToken", "content": "b", "lstrip": 3},
)
# Settings that some version of some library writes, so that a file may have them where it had none.
NAMES = (
    *("model_type", "architectures", "tokenizer_class", "num_labels", "id2label", "label2id", "problem_type"),
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("rope_scaling", "rope_theta", "rope_parameters", "quantization_config", "torch_dtype", "dtype", "hidden_act"),
    *("tie_word_embeddings", "is_decoder", "add_cross_attention", "layer_norm_eps", "initializer_range"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id"),
    *("pad_token", "bos_token", "eos_token", "unk_token", "mask_token", "cls_token", "additional_special_tokens"),
    *("added_tokens_decoder", "do_lower_case", "model_max_length", "padding_side", "chat_template", "add_prefix_space"),
    *("add_bos_token", "clean_up_tokenization_spaces", "normalizer", "pre_tokenizer", "post_processor", "added_tokens"),
    *("num_beams", "max_length", "min_length", "temperature", "top_k", "no_repeat_ngram_size", "bad_words_ids"),
    *("weight_map", "metadata", "__metadata__", "max_len", "truncation", "padding", "version"),
)


def mutated(random: Random, name: str, content: bytes) -> tuple[str, bytes]:
    """Return the name of a mutation of a file, and the file's bytes after it.

    Args:
        random: decides everything.
        name: of the file, whose ending says what it holds.
        content: what it holds.
    """
    if random.random() < 0.15:
        mutations: Sequence[Mutation] = _BYTES
    else:
        mutations = next((own for ending, own in _BY_ENDING if name.endswith(ending)), _BYTES)
    mutation = random.choice(mutations)
    return mutation.__name__.strip("_"), mutation(random, content)


# -- JSON by its structure --------------------------------------------------------------------------------------------


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all that a JSON value holds, of long lists and objects only the first and last entries."""
    found = [path] if path else []
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items if len(items) <= 24 else items[:8] + items[-8:]:
        found += _places(item, (*path, key))
    return found


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _edit(random: Random, value: Any) -> Any:
    """Change one place of a JSON value."""
    places = _places(value)
    if not places or random.random() < 0.02:
        return copy.deepcopy(random.choice(VALUES))
    path = random.choice(places)
    owner, key = _at(value, path[:-1]), path[-1]
    way = random.randrange(10)
    if way < 5:
        owner[key] = copy.deepcopy(random.choice(VALUES))
    elif way == 5:
        del owner[key]
    elif way == 6:
        owner[key] = copy.deepcopy(_at(value, random.choice(places)))
    elif way == 7 and isinstance(owner, dict):
        owner[random.choice((*NAMES, "", "a" * 300, "\ud800", "x.y", f"{key}2"))] = owner.pop(key)
    elif way == 8:
        owner[key] = {"a": owner[key]} if random.random() < 0.5 else [owner[key]] * random.choice((1, 2, 50))
    elif isinstance(value, dict):
        value[random.choice(NAMES)] = copy.deepcopy(random.choice(VALUES))
    return value


def _structure(random: Random, content: bytes) -> bytes:
    value = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _edit(random, value)
    return json.dumps(value).encode()


def _duplicate_key(random: Random, content: bytes) -> bytes:
    value = json.loads(content)
    if not isinstance(value, dict) or not value:
        return content
    entry = f"{json.dumps(random.choice(list(value)))}: {json.dumps(random.choice(VALUES))}, "
    return json.dumps(value).replace("{", "{" + entry, 1).encode()


def _deep(random: Random, content: bytes) -> bytes:
    value = json.loads(content)
    depth = random.choice((5, 90, 900, 100_000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    nested = opening * depth + "1" + closing * depth
    if not isinstance(value, dict) or not value:
        return nested.encode()
    key = random.choice(list(value))
    return json.dumps({**value, key: "@@"}).replace('"@@"', nested).encode()


# -- text by its lines ------------------------------------------------------------------------------------------------


def _lines(random: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    way = random.randrange(8)
    if way == 0:
        lines.insert(i, lines[j])
    elif way == 1:
        del lines[i]
    elif way == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif way == 3:
        lines[i] = random.choice(
            (b"", b" ", b"\t", b"\xff\xfe", b"\xe2\x80\xa8", b"\0", b"a b c", b"{{ x", b"{% for %}")
        )
    elif way == 4:
        lines[i] += random.choice((b" ", b"\r", b"\x0c", b" x", b"\xed\xa0\x80", b"\x1b[2J"))
    elif way == 5:
        lines[i] = lines[i] * random.choice((2, 400, 50_000))
    elif way == 6:
        return b"\r\n".join(lines)
    else:
        return b"\xef\xbb\xbf" + content
    return b"\n".join(lines)


# -- tensors ----------------------------------------------------------------------------------------------------------


def _header(random: Random, content: bytes) -> bytes:
    """Change the JSON in front of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    way = _duplicate_key if random.random() < 0.1 else _structure
    header = way(random, content[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _tensors(random: Random, content: bytes) -> bytes:
    """Write a valid safetensors file with other tensors."""
    from safetensors.torch import load, save

    return save(_edited(random, load(content)))


def _pickled(random: Random, content: bytes) -> bytes:
    """Write a valid pytorch_model.bin with other tensors, or with other things."""
    import torch

    tensors: Any = _edited(random, torch.load(io.BytesIO(content), weights_only=True))
    wrapped: Any = random.choice(
        (tensors, tensors, {"state_dict": tensors}, {"model": tensors}, [tensors], {**tensors, "epoch": 3}, 5, None, {})
    )
    file = io.BytesIO()
    torch.save(wrapped, file, _use_new_zipfile_serialization=random.random() < 0.7)
    return file.getvalue()


def _edited(random: Random, tensors: dict[str, Any]) -> dict[str, Any]:
    import torch

    names = sorted(tensors)
    name, other = random.choice(names), random.choice(names)
    tensor = tensors[name]
    changes: dict[str, Callable[[], Any]] = {
        "flat": lambda: tensor.reshape(-1).clone(),
        "scalar": lambda: torch.tensor(1.0),
        "empty": lambda: torch.empty(0, *tensor.shape[1:]),
        "longer": lambda: torch.cat([tensor, tensor]),
        "axis": lambda: tensor[None].clone(),
        "swapped": lambda: tensor.T.contiguous() if tensor.dim() == 2 else tensor.clone(),
        "cast": lambda: tensor.to(
            getattr(torch, random.choice(("int8", "uint8", "bool", "int64", "float64", "bfloat16", "float8_e4m3fn")))
        ),
        "other": lambda: tensors[other].clone(),
        "not numbers": lambda: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor.clone(),
    }
    way = random.choice((*changes, "dropped", "renamed", "prefixed", "added"))
    if way in changes:
        return {**tensors, name: changes[way]()}
    if way == "dropped":
        return {key: value for key, value in tensors.items() if key != name}
    if way == "added":
        suffix = random.choice((".weight_scale", ".qweight", ".lora_A.weight", ".absmax", "2", ""))
        return {**tensors, name + suffix: torch.ones(2)}
    if way == "prefixed":
        prefix = random.choice(("module.", "_orig_mod.", "model.", "bert.", "transformer.", "base_model.model."))
        return {prefix + key: value for key, value in tensors.items()}
    return {"x" * 300 if key == name else key: value for key, value in tensors.items()}


# -- bytes ------------------------------------------------------------------------------------------------------------


def _truncated(random: Random, content: bytes) -> bytes:
    return content[: random.choice((0, 1, 8, random.randrange(len(content) + 1)))]


def _flipped(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    start = random.randrange(max(len(changed), 1))
    # Most of a file of weights is numbers, among which a flipped bit is one more number: the front matters more.
    front = random.random() < 0.7
    for _ in range(min(random.choice((1, 2, 8)), len(changed))):
        changed[random.randrange(min(len(changed), 2000)) if front else start] ^= 1 << random.randrange(8)
    return bytes(changed)


def _spliced(random: Random, content: bytes) -> bytes:
    i, j, k = sorted(random.randrange(len(content) + 1) for _ in range(3))
    return random.choice(
        (content[:i] + content[j:], content[:j] + content[i:], content[:k] + content[i:j] + content[k:])
    )


def _inserted(random: Random, content: bytes) -> bytes:
    i = random.randrange(len(content) + 1)
    piece = random.choice((b"\0" * 9, random.randbytes(16), b"\xff", b"\n", b'"', b"{", b"]", b"\xed\xa0\x80"))
    return content[:i] + piece + content[i:]


def _lfs_pointer(random: Random, content: bytes) -> bytes:
    del random, content
    return LFS_POINTER


def _other_kind(random: Random, content: bytes) -> bytes:
    del content
    return random.choice(
        (b"<html>404</html>", b"\x1f\x8b\x08\0\0", b"PK\x03\x04", b"\x80\x04N.", b"null", b"\xff\xfea\0")
    )


_BYTES: tuple[Mutation, ...] = (_truncated, _flipped, _spliced, _inserted, _lfs_pointer, _other_kind)
_JSON: tuple[Mutation, ...] = (*(_structure,) * 8, _duplicate_key, _deep)
_BY_ENDING: tuple[tuple[str, tuple[Mutation, ...]], ...] = (
    (".json", _JSON),
    (".txt", (_lines,)),
    (".jinja", (_lines,)),
    ("output.safetensors", (_header,)),
    (".safetensors", (_header, _header, _tensors, _tensors)),
    (".bin", (_pickled, *_BYTES)),
)
