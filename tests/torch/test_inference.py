# ruff: noqa: E402  # what is imported below needs what may be absent

import dataclasses
import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


from modeloutputs import InputError
from modeloutputs.architectures import BertConfig
from modeloutputs.torch import BertForSequenceClassification, BertModel, compile_for_inference, use_product

CONFIG = BertConfig(
    vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37,
    max_position_embeddings=64,
)  # fmt: skip


def test_compiled_model_gives_the_same_outputs_run_in_chunks_and_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modeloutputs.torch.row_chunks.CHUNK_TOKENS", 32)
    monkeypatch.setattr("modeloutputs.torch.inference._FEW_TOKENS", 0)  # large batches are what is run in chunks
    torch.manual_seed(0)
    model = BertModel(dataclasses.replace(CONFIG, num_hidden_layers=1)).eval()
    compiled = compile_for_inference(model)
    ids = torch.randint(1, 99, (9, 8))
    mask = torch.ones_like(ids)
    mask[2, 5:] = 0
    mask[3, :3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        expected = model(ids, mask, output_hidden_states=True)
        found = compiled(ids, mask, output_hidden_states=True)
    assert type(found) is type(expected)
    assert list(found) == list(expected)
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=0, atol=1e-5)


def test_compiled_model_refuses_ids_outside_the_vocabulary():
    compiled = compile_for_inference(BertForSequenceClassification(CONFIG))
    with pytest.raises(InputError, match="input_ids ranges from 99 to 99; expected 0 to 98"):
        compiled(torch.full((1, 4), 99))


def test_layers_not_asked_for_hold_their_places_run_in_chunks_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("modeloutputs.torch.row_chunks.CHUNK_TOKENS", 32)
    model = BertModel(CONFIG).eval()
    compiled = compile_for_inference(model)
    monkeypatch.setattr(compiled, "_run", model)  # what is joined is the same, and nothing has to compile
    ids = torch.randint(1, 99, (9, 8))
    found = compiled(ids, output_hidden_states=[-1])
    assert [state is None for state in found.hidden_states] == [True, True, False]
    assert torch.equal(found.hidden_states[-1], found.last_hidden_state)
    torch.testing.assert_close(found.last_hidden_state, model(ids).last_hidden_state.detach())


WIDE = dataclasses.replace(CONFIG, hidden_size=64, intermediate_size=64, num_hidden_layers=1)


@pytest.mark.parametrize(("way", "shape"), [("rows_image", (4, 32))], ids=["many tokens"])
def test_weights_are_constants(way: str | None, shape: tuple[int, int]):
    """Those of linear layers are not seen to change, which is what lets the compiler lay them out anew."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = BertModel(WIDE).eval()
    compiled = compile_for_inference(model)
    ids = torch.randint(1, 99, shape)
    use_product(way)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own
            before = compiled(ids).last_hidden_state
            torch.testing.assert_close(before, model(ids).last_hidden_state.detach(), rtol=0, atol=1e-5)
            with torch.no_grad():
                for layer in model.encoder.modules():
                    if isinstance(layer, torch.nn.Linear):
                        layer.weight.mul_(1.5)
            after = compiled(ids).last_hidden_state
    finally:
        use_product(None)
    assert torch.equal(before, after)


def test_what_the_compiler_has_no_product_of_its_own_for_is_computed_all_the_same():
    """Attention weights that are returned come from products of two inputs."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = BertModel(WIDE).eval()
    compiled = compile_for_inference(model)
    ids = torch.randint(1, 99, (2, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        found = compiled(ids, output_attentions=True)
    expected = model(ids, output_attentions=True)
    torch.testing.assert_close(found.attentions, tuple(a.detach() for a in expected.attentions), rtol=0, atol=1e-5)
