"""`transformers.Trainer` on models of this library: it trains, accumulates, evaluates, saves, resumes and loads."""

# ruff: noqa: E402  # what is imported below needs what may be absent

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import modeloutputs.torch as ours

from .peer import peer_class
from .tiny import randomise

BERT = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
GPT2 = {"vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BERT": ("BertForSequenceClassification", "BertConfig", {**BERT, "num_labels": 3}),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", BERT),
}
every_model = pytest.mark.parametrize("name", MODELS)


def built(name: str) -> Any:
    """Return a model without dropout, so that runs can be compared."""
    cls, config, settings = MODELS[name]
    model = randomise(getattr(ours, cls)(getattr(ours, config)(**settings)))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "head_dim"):
            module.dropout = 0.0
    return model


class Data(torch.utils.data.Dataset[Any]):
    """Six rows, of which each has another number of labels that count."""

    def __init__(self, *, rows_have_classes: bool) -> None:
        self.rows_have_classes = rows_have_classes

    def __len__(self) -> int:
        return 6

    def __getitem__(self, row: int) -> dict[str, Any]:
        ids = torch.randint(1, 20, (6,), generator=torch.Generator().manual_seed(row))
        labels = torch.where(torch.arange(6) < row, -100, ids)
        return {"input_ids": ids, "labels": torch.tensor(row % 3) if self.rows_have_classes else labels}


def trainer_of(name: str, folder: Path, model: Any = None, **options: Any) -> Any:
    peer = peer_class("Trainer")
    kind = type("Trainer", (ours.TrainerMixin, peer), {}) if options.pop("mixed", True) else peer
    given: dict[str, Any] = {
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": 0.1,
        "optim": "sgd",
        **options,
    }
    arguments = peer_class("TrainingArguments")(
        str(folder), report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no", **given
    )
    data = Data(rows_have_classes=name == "BERT")
    return kind(
        built(name) if model is None else model,
        arguments,
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda found: {"shape": found.predictions.shape},
    )


def weights(model: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", ["BERT", "GPT-2"])
def test_small_batches_accumulated_train_as_a_large_one(name: str, tmp_path: Path) -> None:
    whole = trainer_of(name, tmp_path, mixed=False, save_strategy="no")
    parts = trainer_of(
        name,
        tmp_path,
        mixed=False,
        save_strategy="no",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        gradient_checkpointing=True,
    )
    before = weights(whole.model)
    whole.train()
    parts.train()
    assert all(not torch.equal(before[key], value) for key, value in weights(whole.model).items() if "norm" in key)
    torch.testing.assert_close(weights(parts.model), weights(whole.model), atol=1e-5, rtol=1e-4)


@every_model
def test_the_loss_is_evaluated_with_the_metrics(name: str, tmp_path: Path) -> None:
    trainer = trainer_of(name, tmp_path, mixed=False)
    found = trainer.evaluate()
    assert found["eval_shape"] == ((6, 3) if name == "BERT" else (6, 6, 20))
    rows = [{key: value[None] for key, value in trainer.eval_dataset[i].items()} for i in range(6)]
    with torch.no_grad():
        batch = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
        assert found["eval_loss"] == pytest.approx(trainer.model(**batch).loss.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["BERT", "Llama"])
def test_what_is_saved_is_loaded_and_resumed(name: str, tmp_path: Path) -> None:
    options = {"num_train_epochs": 2, "load_best_model_at_end": True}
    options |= {"eval_strategy": "epoch", "save_strategy": "epoch"}
    trainer = trainer_of(name, tmp_path / "first", **options)
    trainer.train()
    checkpoints = sorted((tmp_path / "first").glob("checkpoint-*"))
    assert [folder.name for folder in checkpoints] == ["checkpoint-3", "checkpoint-6"]
    kind = type(trainer.model)
    best = kind.from_pretrained(trainer.state.best_model_checkpoint)
    torch.testing.assert_close(weights(best), weights(trainer.model))
    trainer.save_model(tmp_path / "saved")
    saved = kind.from_pretrained(tmp_path / "saved")
    assert (saved.config.num_labels, saved.config.vocab_size) == (3 if name == "BERT" else 2, 20)
    torch.testing.assert_close(weights(saved), weights(trainer.model))

    resumed = trainer_of(name, tmp_path / "second", **options)
    resumed.train(resume_from_checkpoint=str(checkpoints[0]))
    assert resumed.state.global_step == 6
    torch.testing.assert_close(weights(resumed.model), weights(trainer.model))
