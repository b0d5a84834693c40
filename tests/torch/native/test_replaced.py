"""A module that somebody replaced, wrapped or compiled is used as it is, in full calls and in generation."""

# ruff: noqa: E402  # what is imported below needs what may be absent

import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrize

from ...support.needs import needs
from ..generating import GENERATORS, Generator
from ..tiny import Head
from .cases import BY_NAME, NATIVE_HEADS, arguments, computed, native_peer, numbers, swept_modules
from .sweep import modules_of, noise, uses

every_head = pytest.mark.parametrize("head", NATIVE_HEADS, ids=[head.name for head in NATIVE_HEADS])
some_heads = pytest.mark.parametrize(
    "head",
    [
        BY_NAME[name]
        for name in (
            "BertForMaskedLM", "BertModel, decoder", "OpenAIGPTLMHeadModel", "GPT2LMHeadModel",
            "LlamaForCausalLM", "BartForConditionalGeneration",
        )
    ],
    ids=lambda head: head.name,
)  # fmt: skip
every_generator = pytest.mark.parametrize("generator", GENERATORS, ids=[each.id for each in GENERATORS])
EAGER = "eager"


class Forwarding(nn.Module):
    """Stands in a module's place and calls it; knows nothing of its attributes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, *inputs: Any, **options: Any) -> Any:
        self.calls += 1
        return self.inner(*inputs, **options)


class LowRank(nn.Module):
    """A linear layer with a product of two small matrices added: what LoRA puts in a projection's place."""

    def __init__(self, base: nn.Module, inputs: int, outputs: int, rank: int = 2) -> None:
        super().__init__()
        self.base_layer = base
        self.down = nn.Parameter(noise(torch.zeros(inputs, rank)))
        self.up = nn.Parameter(noise(torch.zeros(rank, outputs)))

    def forward(self, states: Tensor) -> Tensor:
        return self.base_layer(states) + states @ self.down @ self.up


class Doubled(nn.Linear):
    """A linear layer that returns twice its result."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Table(nn.Module):
    """A table of embeddings with neither the class nor the attributes of PyTorch's."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, ids: Tensor) -> Tensor:
        return self.values[ids]


def replace(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """Put a module in the place of the one of this name, which is returned."""
    old = model.get_submodule(name)
    model.set_submodule(name, new)
    return old


# -- any module -------------------------------------------------------------------------------------------------------

# Wrapping those hides what others ask of them: a model's outputs and checks, a stack's layers. BART's `shared` is
# another name of the tables of encoder and decoder, which stay.
_BODIES = ("bert", "transformer", "model", "encoder", "decoder", "model.encoder", "model.decoder", "bert.encoder")


def _replaceable(name: str) -> bool:
    return name not in _BODIES and name.rpartition(".")[2] not in ("layer", "layers", "h", "shared")


@every_head
def test_any_module_may_be_wrapped_in_one_that_only_calls_it(head: Head) -> None:
    model = head.model()
    plain = computed(model, head)
    for name in filter(_replaceable, swept_modules(head)):
        wrapper = Forwarding(model.get_submodule(name))
        inner = replace(model, name, wrapper)
        torch.testing.assert_close(computed(model, head), plain, rtol=0, atol=1e-5, msg=name)
        assert wrapper.calls == uses(model, head, name), name
        replace(model, name, inner)


@every_generator
@needs("transformers")
def test_any_module_may_be_wrapped_in_generation(generator: Generator) -> None:
    model, _ = generator.pair()
    inputs = generator.inputs()
    options: dict[str, Any] = {"max_new_tokens": 3, "eos_token_id": [], "output_scores": True}
    plain = model.generate(**inputs, **options)
    for name in modules_of(model):
        if not _replaceable(name):
            continue
        inner = replace(model, name, Forwarding(model.get_submodule(name)))
        found = model.generate(**inputs, **options)
        replace(model, name, inner)
        torch.testing.assert_close(found.scores, plain.scores, rtol=0, atol=1e-4, msg=name)


# -- embeddings -------------------------------------------------------------------------------------------------------

POSITIONS = {
    "BertForMaskedLM": "bert.embeddings.position_embeddings",
    "BertModel, decoder": "embeddings.position_embeddings",
    "OpenAIGPTLMHeadModel": "transformer.positions_embed",
    "GPT2LMHeadModel": "transformer.wpe",
    "BartForConditionalGeneration": "model.decoder.embed_positions",
}
TOKENS = {
    "BertForMaskedLM": "bert.embeddings.word_embeddings",
    "BertModel, decoder": "embeddings.word_embeddings",
    "OpenAIGPTLMHeadModel": "transformer.tokens_embed",
    "GPT2LMHeadModel": "transformer.wte",
    "LlamaForCausalLM": "model.embed_tokens",
}
TABLES = [(head, table) for tables in (POSITIONS, TOKENS) for head, table in tables.items()]


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_swapped_table_is_looked_up(name: str, table: str) -> None:
    head = BY_NAME[name]
    model, expected = head.model(), head.model()
    values = noise(model.get_submodule(table).weight.detach())
    new = nn.Embedding(*values.shape)
    for swapped in (new, Table(values)):
        with torch.no_grad():
            new.weight.copy_(values)
            expected.get_submodule(table).weight.copy_(values)
        untied = replace(model, table, swapped)
        assert untied is not swapped
        if table in TOKENS.values() and head.configuration().tie_word_embeddings:
            continue  # the scores keep the old table
        torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in POSITIONS if name != "BertModel, decoder"])
def test_swapped_positions_are_looked_up_under_padding_and_in_steps(name: str) -> None:
    head = BY_NAME[name]
    model, expected = head.model(), head.model()
    values = noise(model.get_submodule(POSITIONS[name]).weight.detach())
    with torch.no_grad():
        expected.get_submodule(POSITIONS[name]).weight.copy_(values)
    replace(model, POSITIONS[name], Table(values))
    given = arguments(head)
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    given["attention_mask"][0, 0] = 0
    with torch.no_grad():
        torch.testing.assert_close(numbers(model(**given)), numbers(expected(**given)), rtol=0, atol=1e-5)
    if hasattr(model, "generate"):
        ids = {"input_ids": given["input_ids"]}
        found, wanted = (each.generate(**ids, max_new_tokens=4).sequences for each in (model, expected))
        assert torch.equal(found, wanted)


def test_types_that_were_not_passed_are_looked_up_in_a_swapped_table() -> None:
    head = BY_NAME["BertForMaskedLM"]
    model, expected = head.model(), head.model()
    table = "bert.embeddings.token_type_embeddings"
    values = noise(model.get_submodule(table).weight.detach())
    with torch.no_grad():
        expected.get_submodule(table).weight.copy_(values)
    replace(model, table, Table(values))
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-5)


# -- projections ------------------------------------------------------------------------------------------------------

QUERIES = {
    "BertForMaskedLM": "bert.encoder.layer.0.attention.self.query",
    "BertModel, decoder": "encoder.layer.1.crossattention.self.query",
    "LlamaForCausalLM": "model.layers.0.self_attn.q_proj",
    "BartForConditionalGeneration": "model.decoder.layers.0.encoder_attn.q_proj",
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_low_rank_adapter_is_its_sum(name: str) -> None:
    head = BY_NAME[name]
    model, expected = head.model(), head.model()
    query = model.get_submodule(QUERIES[name])
    adapter = LowRank(query, query.in_features, query.out_features)
    replace(model, QUERIES[name], adapter)
    with torch.no_grad():
        expected.get_submodule(QUERIES[name]).weight += (adapter.down @ adapter.up).T
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-4)
    model(**arguments(head)).to_tuple()[0].sum().backward()
    assert adapter.down.grad is not None
    assert adapter.down.grad.abs().sum() > 0


@pytest.mark.parametrize("role", ["q_proj", "k_proj", "v_proj", "o_proj"])
def test_a_subclass_of_a_linear_layer_is_called(role: str) -> None:
    head = BY_NAME["LlamaForCausalLM"]
    model, expected = head.model(), head.model()
    path = f"model.layers.1.self_attn.{role}"
    plain = model.get_submodule(path)
    doubled = Doubled(plain.in_features, plain.out_features, bias=False)
    doubled.weight = plain.weight
    replace(model, path, doubled)
    with torch.no_grad():
        expected.get_submodule(path).weight *= 2
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-4)
    prompt = {"input_ids": arguments(head)["input_ids"], "max_new_tokens": 4, "output_scores": True}
    found, wanted = model.generate(**prompt), expected.generate(**prompt)
    assert torch.equal(found.sequences, wanted.sequences)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("role", ["q_proj", "k_proj", "v_proj"])
def test_a_parametrised_weight_is_computed(role: str) -> None:
    class Scaled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight * 3

    head = BY_NAME["LlamaForCausalLM"]
    model, expected = head.model(), head.model()
    path = f"model.layers.0.self_attn.{role}"
    parametrize.register_parametrization(model.get_submodule(path), "weight", Scaled())
    with torch.no_grad():
        expected.get_submodule(path).weight *= 3
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-4)


def test_a_forward_set_on_an_instance_is_called() -> None:
    head = BY_NAME["LlamaForCausalLM"]
    model, expected = head.model(), head.model()
    key = model.model.layers[0].self_attn.k_proj
    key.forward = lambda states: 2 * nn.functional.linear(states, key.weight)
    with torch.no_grad():
        expected.model.layers[0].self_attn.k_proj.weight *= 2
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-4)
    prompt = {"input_ids": arguments(head)["input_ids"], "max_new_tokens": 4}
    assert torch.equal(model.generate(**prompt).sequences, expected.generate(**prompt).sequences)


def test_a_weight_that_is_swapped_between_calls_is_read() -> None:
    head = BY_NAME["BertForMaskedLM"]
    model, expected = head.model(), head.model()
    computed(model, head)
    key = model.bert.encoder.layer[0].attention.self.key
    key.weight = nn.Parameter(noise(key.weight.detach()))
    expected.load_state_dict(model.state_dict())
    torch.testing.assert_close(computed(model, head), computed(expected, head), rtol=0, atol=1e-5)


# -- layers -----------------------------------------------------------------------------------------------------------

REARRANGED: dict[str, Callable[[nn.ModuleList], None]] = {
    "the first removed": lambda layers: layers.__delitem__(0),
    "the last removed": lambda layers: layers.__delitem__(1),
    "exchanged": lambda layers: layers.__init__(layers.settings, list(layers)[::-1]),
    "one twice": lambda layers: layers.__setitem__(1, layers[0]),
    "one more": lambda layers: layers.append(layers[0]),
}


@pytest.mark.parametrize("change", REARRANGED)
@pytest.mark.parametrize(
    "name", ["GPT2LMHeadModel", "LlamaForCausalLM", "BertLMHeadModel", "BartForConditionalGeneration"]
)
def test_layers_may_be_removed_moved_and_shared(name: str, change: str) -> None:
    """Steps with a cache are what one call over the whole sequence returns."""
    head = BY_NAME[name]
    model = head.model()
    REARRANGED[change](model.get_submodule(LAYERS.get(name, "bert.encoder.layer")))
    given = arguments(head)
    ids = given.pop("decoder_input_ids" if head.is_seq2seq else "input_ids")
    key = "decoder_input_ids" if head.is_seq2seq else "input_ids"
    with torch.no_grad():
        whole = model(**{**given, key: ids}, use_cache=False).logits
        past = model(**{**given, key: ids[:, :3]}, use_cache=True).past_key_values
        step = model(**{**given, key: ids[:, 3:]}, past_key_values=past, use_cache=True).logits
    torch.testing.assert_close(step, whole[:, 3:], rtol=0, atol=1e-4)
    if head.crosses:
        return
    found = model.generate(**{**given, "input_ids": given.get("input_ids", ids)}, max_new_tokens=4, eos_token_id=[])
    if not head.is_seq2seq:
        for length in range(ids.shape[1], found.sequences.shape[1]):
            with torch.no_grad():
                scores = model(input_ids=found.sequences[:, :length], use_cache=False).logits[:, -1]
            assert torch.equal(scores.argmax(-1), found.sequences[:, length])


# -- wrappers of PyTorch ----------------------------------------------------------------------------------------------

LAYERS = {
    "BertForMaskedLM": "bert.encoder.layer",
    "BertModel, decoder": "encoder.layer",
    "OpenAIGPTLMHeadModel": "transformer.h",
    "GPT2LMHeadModel": "transformer.h",
    "LlamaForCausalLM": "model.layers",
    "BartForConditionalGeneration": "model.decoder.layers",
}


def wrap_layers(model: nn.Module, name: str, wrap: Callable[[nn.Module], Any]) -> None:
    """Put wrapped layers in their places."""
    layers = model.get_submodule(LAYERS[name])
    for index, layer in enumerate(layers):
        layers[index] = wrap(layer)


# One architecture with each kind of layer is traced, as tracing takes seconds.
WRAPPED = [
    *(("checkpoint_wrapper", name) for name in LAYERS),
    *(("torch.compile", name) for name in ("BertForMaskedLM", "LlamaForCausalLM")),
    *(("Module.compile", name) for name in ("BertModel, decoder", "GPT2LMHeadModel", "BartForConditionalGeneration")),
]


@pytest.mark.parametrize(("wrapper", "name"), WRAPPED)
def test_wrapped_layers_compute_the_same(wrapper: str, name: str) -> None:
    head = BY_NAME[name]
    model = head.model()
    plain = computed(model, head)
    if wrapper == "Module.compile":
        for layer in model.get_submodule(LAYERS[name]):
            layer.compile(backend=EAGER)
    else:
        wrap_layers(model, name, checkpoint_wrapper if wrapper == "checkpoint_wrapper" else compiled)
    torch.testing.assert_close(computed(model, head), plain, rtol=0, atol=1e-5)
    if hasattr(model, "generate"):
        given = {"input_ids": arguments(head)["input_ids"]}
        assert torch.equal(
            model.generate(**given, max_new_tokens=4).sequences,
            head.model().generate(**given, max_new_tokens=4).sequences,
        )


def compiled(layer: nn.Module) -> Any:
    """Compile a layer, without a compiler behind the tracer."""
    return torch.compile(layer, backend=EAGER)


@pytest.mark.parametrize("name", LAYERS)
def test_wrapped_layers_train_as_those_without(name: str) -> None:
    def gradients(wrap: Callable[[nn.Module], Any] | None) -> list[Tensor]:
        model = head.model()
        if wrap is not None:
            wrap_layers(model, name, wrap)
        model(**arguments(head)).to_tuple()[0].square().mean().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    head = BY_NAME[name]
    plain = gradients(None)
    for wrap in (compiled, checkpoint_wrapper):
        torch.testing.assert_close(gradients(wrap), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "LlamaForCausalLM"])
def test_alike_layers_are_compiled_once(name: str) -> None:
    """More graphs than PyTorch's limit of recompilations would leave the last layers of a deep model as they were."""
    head = BY_NAME[name]
    model = head.model(num_hidden_layers=10)
    torch._dynamo.reset()
    counter = CompileCounter()
    for layer in model.get_submodule(LAYERS[name]):
        layer.compile(backend=counter, fullgraph=True)
    computed(model, head)
    assert counter.frame_count == 1


def test_stacks_and_bodies_may_be_compiled_in_their_places() -> None:
    head = BY_NAME["BertForMaskedLM"]
    plain = computed(head.model(), head)
    for name in ("bert.encoder", "bert.encoder.layer", "bert.embeddings", "cls"):
        model = head.model()
        replace(model, name, compiled(model.get_submodule(name)))
        torch.testing.assert_close(computed(model, head), plain, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "LlamaForCausalLM", "BartForConditionalGeneration"])
@needs("transformers")
def test_quantize_dynamic_gives_the_peers_numbers(name: str) -> None:
    head = BY_NAME[name]
    ours, theirs = head.model(), native_peer(head)
    theirs.load_state_dict(ours.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantised, peers = (torch.ao.quantization.quantize_dynamic(each, {nn.Linear}) for each in (ours, theirs))
    kinds = {kind.__module__ for kind in map(type, quantised.modules())}
    assert any("quantized" in kind for kind in kinds)
    found = computed(quantised, head)
    torch.testing.assert_close(found, computed(peers, head), rtol=0, atol=1e-4)
    assert 1e-4 < (found - computed(ours, head)).abs().max() < 0.5  # eight bits change numbers, and not by much
    if hasattr(quantised, "generate"):
        assert quantised.generate(input_ids=arguments(head)["input_ids"], max_new_tokens=3).sequences.shape[1] >= 3
