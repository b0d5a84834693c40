"""Facts about weight names, and those of each architecture against the names that checkpoints have."""

import pytest

from modeloutputs.architectures import bart, bert, gpt, gpt2, llama
from modeloutputs.architectures.weights import WeightNames

NAMES = WeightNames(
    prefix="base",
    tied={"head.w": "base.table", "base.copy": "base.table"},
    always_tied={"head.b": "head.bias"},
    fallbacks={"base.copy": "base.table", "base.late": "base.early"},
    optional=r"pooler\.",
    ignored=r"position_ids$",
    neutral=r"zeros$",
)


def test_tied_weights_are_read_under_each_of_their_names() -> None:
    every = ("base.table", "head.w", "base.copy")
    assert NAMES.sources("base.table", tied=True) == every
    assert NAMES.sources("head.w", tied=True) == every
    assert NAMES.sources("base.table", tied=False) == ("base.table",)
    assert NAMES.sources("head.w", tied=False) == ("head.w",)


@pytest.mark.parametrize("tied", [True, False])
def test_some_are_tied_whatever_the_configuration_says(tied: bool) -> None:
    assert NAMES.sources("head.bias", tied=tied) == NAMES.sources("head.b", tied=tied) == ("head.bias", "head.b")
    assert NAMES.repeats(tied=tied).items() >= {("head.b", "head.bias")}
    assert ("head.w" in NAMES.repeats(tied=tied)) == tied
    assert NAMES.stored_twice(tied=tied) == (set() if tied else {"head.b", "head.bias"})


def test_a_fallback_comes_last() -> None:
    assert NAMES.sources("base.late", tied=True) == ("base.late", "base.early")
    assert NAMES.sources("base.copy", tied=False) == ("base.copy", "base.table")
    assert NAMES.sources("base.other", tied=True) == ("base.other",)


def test_patterns_say_what_may_be_absent_or_left() -> None:
    assert NAMES.is_optional("pooler.dense.weight")
    assert not NAMES.is_optional("my.pooler.weight")
    assert NAMES.is_ignored("base.embeddings.position_ids")
    assert NAMES.is_neutral("base.zeros")
    plain = WeightNames(prefix="base")
    assert not any(ask(name) for ask in (plain.is_optional, plain.is_ignored, plain.is_neutral) for name in ("", "a"))


IGNORED = [
    (bert.WEIGHT_NAMES, "bert.embeddings.position_ids"),
    (gpt.WEIGHT_NAMES, "h.0.attn.bias"),
    (gpt.WEIGHT_NAMES, "transformer.h.11.attn.bias"),
    (gpt2.WEIGHT_NAMES, "h.0.attn.bias"),
    (gpt2.WEIGHT_NAMES, "transformer.h.0.attn.masked_bias"),
    (gpt2.WEIGHT_NAMES, "transformer.h.0.crossattention.bias"),
    (llama.WEIGHT_NAMES, "model.layers.0.self_attn.rotary_emb.inv_freq"),
]
HELD = [
    (bert.WEIGHT_NAMES, "bert.embeddings.position_embeddings.weight"),
    (gpt.WEIGHT_NAMES, "h.0.attn.c_attn.bias"),
    (gpt2.WEIGHT_NAMES, "h.0.attn.c_proj.bias"),
    (llama.WEIGHT_NAMES, "model.layers.0.self_attn.q_proj.bias"),
    (bart.WEIGHT_NAMES, "model.encoder.embed_positions.weight"),
    (bart.DECODER_WEIGHT_NAMES, "model.decoder.embed_tokens.weight"),
]


@pytest.mark.parametrize(("names", "name"), IGNORED)
def test_names_without_weights_are_ignored(names: WeightNames, name: str) -> None:
    assert names.is_ignored(name)


@pytest.mark.parametrize(("names", "name"), HELD)
def test_weights_are_not_ignored(names: WeightNames, name: str) -> None:
    assert not names.is_ignored(name)


def test_new_cross_attention_and_pooling_may_be_absent() -> None:
    assert bert.WEIGHT_NAMES.is_optional("pooler.dense.weight")
    assert bert.WEIGHT_NAMES.is_optional("encoder.layer.10.crossattention.self.query.weight")
    assert not bert.WEIGHT_NAMES.is_optional("encoder.layer.10.attention.self.query.weight")
    assert gpt2.WEIGHT_NAMES.is_optional("h.3.crossattention.q_attn.weight")
    assert gpt2.WEIGHT_NAMES.is_optional("h.3.ln_cross_attn.bias")
    assert not gpt2.WEIGHT_NAMES.is_optional("h.3.attn.c_attn.weight")


def test_barts_shared_table_is_read_under_each_name_that_files_have() -> None:
    tables = {"model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"}
    for name in tables:
        assert tables <= set(bart.WEIGHT_NAMES.sources(name, tied=True))
    assert bart.WEIGHT_NAMES.sources("model.encoder.embed_tokens.weight", tied=False)[-1] == "model.shared.weight"
    assert bart.DECODER_WEIGHT_NAMES.is_ignored("model.encoder.layers.0.fc1.weight")
    assert bart.DECODER_WEIGHT_NAMES.is_ignored("encoder.layers.0.fc1.weight")
