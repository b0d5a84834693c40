# ruff: noqa: E402  # what is imported below needs what may be absent

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from modeloutputs.torch.values import has_concrete_values, values_on_cpu

from .tiny import BY_NAME, Head

# A row without `eos_token_id` is refused by one of BART's heads, and choices have an axis of their own.
HEADS = [head for head in BY_NAME.values() if not head.has_choices]


def test_tensors_of_the_cpu_values_on_cpu():
    assert has_concrete_values(torch.ones(2))
    assert values_on_cpu(torch.ones(2))
    assert not values_on_cpu(torch.ones(0))
    assert not values_on_cpu(torch.ones(2, device="meta"))


def test_values_are_unknown_where_python_cannot_ask_for_them():
    seen: list[bool] = []
    torch.func.vmap(lambda x: seen.append(has_concrete_values(x)) or x)(torch.ones(3, 2))
    torch.compile(lambda x: seen.append(has_concrete_values(x)) or x + 1, backend="eager", fullgraph=False)(
        torch.ones(2)
    )
    assert seen[0] is False
    assert seen[1:] == [False]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_models_are_mapped_over_rows_with_and_without_padding(head: Head):
    model = head.model()
    weights = dict(model.named_parameters())
    torch.manual_seed(0)
    ids = torch.randint(5, 20, (3, 1, 6))
    ids[..., -1] = ids[1, :, 3] = 2  # BART's end token
    mask = torch.ones(3, 1, 6, dtype=torch.long)
    mask[1, 0, 4:] = 0

    def call(ids: Any, mask: Any = None) -> Any:
        return torch.func.functional_call(model, weights, (ids,), {"attention_mask": mask})[0]

    torch.testing.assert_close(torch.func.vmap(call)(ids)[:, 0], call(ids[:, 0]), atol=1e-5, rtol=0)
    mapped = torch.func.vmap(call)(ids, mask)[:, 0]
    torch.testing.assert_close(mapped, call(ids[:, 0], mask[:, 0]), atol=1e-5, rtol=0)
