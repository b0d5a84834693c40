"""Heads that decoders share, against transformers: logits, losses, padding, checkpoints both ways."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import modeloutputs.torch as ours

from .peer import peer_class
from .tiny import padded_mask, randomise

GPT2 = {"vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "pad_token_id": 0, "num_labels": 3}
LLAMA = {
    "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "pad_token_id": 0, "num_labels": 3,
}  # fmt: skip
LENGTHS = (5, 3)
IDS = torch.randint(1, 20, (2, 5), generator=torch.Generator().manual_seed(0))
LABELS: dict[str, dict[str, Any]] = {
    "SequenceClassification": {"labels": torch.tensor([2, 0])},
    "TokenClassification": {"labels": torch.tensor([[0, 1, -100, 2, 1], [2, -100, 0, 1, 0]])},
    "QuestionAnswering": {"start_positions": torch.tensor([1, 9]), "end_positions": torch.tensor([3, 0])},
}
CASES = [(family, task) for family in ("GPT2", "Llama") for task in LABELS]
every_case = pytest.mark.parametrize(("family", "task"), CASES, ids=["For".join(case) for case in CASES])


def settings(family: str, task: str, **changes: Any) -> dict[str, Any]:
    given = {**(GPT2 if family == "GPT2" else LLAMA), **changes}
    return {**given, "num_labels": 2} if task == "QuestionAnswering" else given


def built(family: str, task: str, **changes: Any) -> Any:
    config = getattr(ours, f"{family}Config")(**settings(family, task, **changes))
    return randomise(getattr(ours, f"{family}For{task}")(config)).eval()


def peer_of(family: str, task: str, model: Any) -> Any:
    peer = peer_class(f"{family}For{task}")(peer_class(f"{family}Config")(**settings(family, task))).eval()
    peer.load_state_dict(model.state_dict())
    return peer


def numbers(output: Any) -> dict[str, Any]:
    return {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}


@every_case
def test_numbers_are_the_peers(family: str, task: str) -> None:
    model = built(family, task)
    mask = padded_mask(LENGTHS, "right", 5)
    given = {"input_ids": IDS * mask, "attention_mask": mask, **LABELS[task]}
    torch.testing.assert_close(numbers(model(**given)), numbers(peer_of(family, task, model)(**given)))


@every_case
def test_values_do_not_depend_on_padding(family: str, task: str) -> None:
    model, (long, short) = built(family, task), LENGTHS
    alone = numbers(model(IDS[1:, :short]))
    for side, kept in (("right", slice(0, short)), ("left", slice(long - short, long))):
        ids = torch.zeros_like(IDS)
        ids[0], ids[1, kept] = IDS[0], IDS[1, :short]
        found = numbers(model(ids, padded_mask(LENGTHS, side, long)))
        for name, value in found.items():
            row = value[1:] if task == "SequenceClassification" else value[1:, kept]
            torch.testing.assert_close(row, alone[name])


@every_case
def test_checkpoints_are_read_both_ways(family: str, task: str, tmp_path: Path) -> None:
    model = built(family, task)
    model.save_pretrained(tmp_path / "ours")
    peer = peer_class(f"{family}For{task}").from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(numbers(peer.eval()(IDS)), numbers(model(IDS)))
    peer.save_pretrained(tmp_path / "peers")
    loaded = type(model).from_pretrained(tmp_path / "peers")
    torch.testing.assert_close(numbers(loaded(IDS)), numbers(model(IDS)))


@pytest.mark.filterwarnings("ignore::modeloutputs.CheckpointWarning")
@pytest.mark.parametrize("family", ["GPT2", "Llama"])
def test_a_head_is_put_on_the_base_models_checkpoint(family: str, tmp_path: Path) -> None:
    base = randomise(getattr(ours, f"{family}Model")(getattr(ours, f"{family}Config")(**settings(family, ""))))
    base.save_pretrained(tmp_path)
    for task in LABELS:
        model = getattr(ours, f"{family}For{task}").from_pretrained(tmp_path, num_labels=2)
        assert torch.equal(model.get_input_embeddings().weight, base.get_input_embeddings().weight)


def test_llama_has_no_token_types_and_leaves_them_out() -> None:
    model = built("Llama", "SequenceClassification")
    assert torch.equal(model(IDS, token_type_ids=torch.zeros_like(IDS)).logits, model(IDS).logits)


@pytest.mark.parametrize(("rate", "expected"), [(None, 0.1), (0.0, 0.0), (0.3, 0.3)])
@pytest.mark.parametrize("family", ["GPT2", "Llama"])
def test_dropout_before_token_scores_is_the_configurations(family: str, rate: float | None, expected: float) -> None:
    assert built(family, "TokenClassification", classifier_dropout=rate).dropout.p == expected
