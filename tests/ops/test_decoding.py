"""Decoding that goes on from joined, selected, split and unpadded outputs of our models."""

from typing import Any

import pytest

from modeloutputs import (
    concat,
    pad,
    select,
    split,
    unpad,
)

from ..support.batches import each_side
from ..support.compare import assert_same
from ..support.needs import needs_torch

PROMPTS, SOURCES = (5, 3), (4, 2)
"""Tokens of two prompts, and of the encoder's texts that go with them."""


class Decoding:
    """Two prompts decoded apart by a tiny model, and the calls that go on from them."""

    def __init__(self, name: str) -> None:
        from ..torch.tiny import BY_NAME, padded_mask, source_ids, states, token_ids

        self.head = BY_NAME[name]
        self.model = self.head.model()
        self.ids = [token_ids(1, length, seed=length) for length in PROMPTS]
        self.sources = [source_ids((length,)) for length in SOURCES]
        self.states = [states(1, length, seed=length) for length in SOURCES]
        self.next, self.later = token_ids(2, 1, seed=5), token_ids(2, 1, seed=6)
        self.masks = padded_mask(PROMPTS, "left", 5), padded_mask(SOURCES, "left", 4)

    def prompt(self, row: int) -> Any:
        if self.head.is_seq2seq:
            return self.call(self.ids[row], input_ids=self.sources[row])
        return self.call(self.ids[row], encoder_hidden_states=self.states[row] if self.crosses else None)

    @property
    def crosses(self) -> bool:
        return self.head.crosses

    def call(self, ids: Any, mask: Any = None, encoder_mask: Any = None, past: Any = None, **more: Any) -> Any:
        import torch

        if self.head.is_seq2seq:
            more |= {"decoder_input_ids": ids, "decoder_attention_mask": mask, "attention_mask": encoder_mask}
        else:
            more |= {"input_ids": ids, "attention_mask": mask}
            more |= {"encoder_attention_mask": encoder_mask} if self.crosses else {}
        given = {name: value for name, value in {**more, "past_key_values": past}.items() if value is not None}
        with torch.no_grad():
            return self.model(**given, use_cache=True)

    def mask(self, steps: int) -> Any:
        import torch

        return torch.cat([self.masks[0], torch.ones(2, steps, dtype=torch.int64)], 1)


def assert_close(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-5


DECODERS = ["GPT2LMHeadModel", "LlamaForCausalLM", "BertLMHeadModel", "BartForCausalLM", "BartForConditionalGeneration"]


@needs_torch
@pytest.mark.parametrize("name", DECODERS)
def test_prompts_decoded_apart_go_on_together_and_apart_again(name: str):
    import torch

    from modeloutputs.torch import Cache

    decoding = Decoding(name)
    parts = [decoding.prompt(row) for row in (0, 1)]
    own = [decoding.call(decoding.next[row : row + 1], past=parts[row].past_key_values) for row in (0, 1)]
    own_later = [decoding.call(decoding.later[row : row + 1], past=own[row].past_key_values) for row in (0, 1)]

    joined = concat(parts, side="left")
    assert type(joined.past_key_values) is Cache
    assert joined.past_key_values.length == 5
    both = decoding.call(decoding.next, decoding.mask(1), decoding.masks[1], past=joined.past_key_values)
    assert_close(both.logits, torch.cat([output.logits for output in own]))
    assert joined.past_key_values.length == 5

    rows = torch.tensor([1, 0, 1])
    chosen = select(both, rows)
    assert type(chosen.past_key_values) is Cache
    for layer, expected in zip(chosen.past_key_values, both.past_key_values.reorder(rows), strict=True):
        assert [torch.equal(a, b) for a, b in zip(layer, expected, strict=True)] == [True] * len(expected)
    again = decoding.call(
        decoding.later[rows], decoding.mask(2)[rows], decoding.masks[1][rows], past=chosen.past_key_values
    )
    assert_close(again.logits, torch.cat([own_later[row].logits for row in (1, 0, 1)]))

    freed = unpad(both, decoding.mask(1), decoding.masks[1] if len(both.past_key_values[0]) == 4 else None)
    apart = [
        *zip(split(both, 1), decoding.mask(2), decoding.masks[1], strict=True),
        *((one, None, None) for one in freed),
    ]
    for row, (part, mask, encoder_mask) in enumerate(apart):
        assert type(part.past_key_values) is Cache
        one = slice(row % 2, row % 2 + 1)
        given = () if mask is None else (mask[None], encoder_mask[None])
        last = decoding.call(decoding.later[one], *given, past=part.past_key_values)
        assert_close(last.logits, own_later[row % 2].logits)


@needs_torch
def test_a_split_or_joined_cache_is_not_changed_by_later_steps():
    import torch

    decoding = Decoding("LlamaForCausalLM")
    joined = concat([decoding.prompt(row) for row in (0, 1)], side="left")
    first = decoding.call(decoding.next, decoding.mask(1), past=joined.past_key_values)
    parts = split(first, 1)
    before = [tensor.clone() for layer in parts[0].past_key_values for tensor in layer]
    decoding.call(decoding.later, decoding.mask(2), past=first.past_key_values)
    decoding.call(decoding.next[:1], decoding.mask(2)[:1], past=parts[0].past_key_values)
    after = [tensor for layer in parts[0].past_key_values for tensor in layer]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@needs_torch
@each_side
def test_generated_outputs_are_joined_and_unpadded_by_their_own_mask(side: str):
    import torch

    from modeloutputs.torch import Cache, GenerateOutput

    from ..torch.tiny import BY_NAME, padded_mask, token_ids

    assert Cache
    model = BY_NAME["LlamaForCausalLM"].model()
    ids, mask = token_ids(2, 6), padded_mask((6, 3), "left", 6)
    flags = {"output_scores": True, "output_hidden_states": True, "output_attentions": True, "pad_token_id": 0}
    tokens = model.generate(ids, mask, max_new_tokens=4).new_tokens()
    end = next(int(token) for token in tokens[0] if token not in tokens[1])  # ends the first row before the second
    some = model.generate(ids, mask, max_new_tokens=4, eos_token_id=[end], **flags)
    more = model.generate(token_ids(1, 3, seed=7), max_new_tokens=7, eos_token_id=[98], **flags)
    assert some.attention_mask.sum(1).tolist() != [10, 7]
    assert some.scores.shape[1] != more.scores.shape[1]
    joined = concat([some, more], side=side).check()
    assert type(joined) is GenerateOutput
    expected = [*some.new_tokens(), *more.new_tokens()]
    assert all(torch.equal(a, b) for a, b in zip(joined.new_tokens(), expected, strict=True))
    alone = [*unpad(some, some.attention_mask), *unpad(more, more.attention_mask)]
    for row, other, new in zip(unpad(joined, joined.attention_mask), alone, expected, strict=True):
        assert_same(row, other)
        assert row.attention_mask.all()
        assert row.scores.shape[:2] == (1, len(new))
        assert torch.equal(row.sequences[row.generated], new)
        assert row.hidden_states[0].shape[1] == row.sequences.shape[1]
    longer = pad(some, total=15, side=side)
    for row, other in zip(unpad(longer, longer.attention_mask), alone, strict=False):
        assert_same(row, other)
