"""`modeloutputs run`: runs texts through a model; prints the typed output, the loss and the predictions."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import CheckpointNotFoundError, InputError
from ..files.atomic import refuse_other_kinds
from ..files.outputs import save
from .report import as_json, print_output
from .screen import print_json
from .texts import read_lines
from .wings import FrameworkName

__all__ = ["Task", "run"]


class Task(StrEnum):
    """Head on top of the model."""

    FEATURES = "features"
    SEQUENCE_CLASSIFICATION = "sequence-classification"
    TOKEN_CLASSIFICATION = "token-classification"
    MASKED_LM = "masked-lm"
    CAUSAL_LM = "causal-lm"
    NEXT_SENTENCE = "next-sentence"
    QUESTION_ANSWERING = "question-answering"
    MULTIPLE_CHOICE = "multiple-choice"


def run(
    model: Annotated[str, typer.Option(help="A checkpoint folder, or a hub id.")],
    task: Annotated[Task, typer.Option(help="Head on top of the model.")] = Task.FEATURES,
    text: Annotated[list[str] | None, typer.Option(help="A text; may be repeated.")] = None,
    text_pair: Annotated[
        list[str] | None,
        typer.Option(help="The second text of each pair, as often as --text; a choice of multiple-choice."),
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="A file with a text per line, a tab before a second one; - for standard input.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="The label of each text: a class name or index, or a number for regression."),
    ] = None,
    hidden_states: Annotated[bool, typer.Option("--hidden-states", help="Return all hidden states.")] = False,
    attentions: Annotated[bool, typer.Option("--attentions", help="Return all attention weights.")] = False,
    max_length: Annotated[int | None, typer.Option(help="Number of tokens to which texts are truncated.")] = None,
    in_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    save_to: Annotated[
        Path | None, typer.Option("--save", help="Also write the output to this safetensors file.")
    ] = None,
    framework: Annotated[FrameworkName, typer.Option(help="What the model runs in.")] = FrameworkName.TORCH,
) -> None:
    """Run texts through a model and print what it returns: class, fields, loss and predictions.

    Many texts are run in batches, those of like lengths together; what is printed and saved is in the texts' order.
    """
    from . import tasks  # slow to import

    texts, pairs = _read_texts(text or [], text_pair or [], file)
    _check_max_length(max_length)
    if save_to is not None:
        _check_target(save_to)
    flags = {"output_hidden_states": hidden_states, "output_attentions": attentions}
    asked = tasks.Asked(task.value, texts, pairs, label or [], max_length, flags, keep_values=save_to is not None)
    answer = tasks.run_task(model, asked, framework)
    if save_to is not None:
        noted = {} if answer.loss is None else {"loss": json.dumps(answer.loss)}
        save(answer.output, save_to, notes={"predictions": json.dumps(answer.predictions), **noted})
    if in_json:
        print_json(as_json(*answer))
    else:
        print_output(*answer)


def _check_max_length(max_length: int | None) -> None:
    if max_length is not None and max_length < 1:
        raise InputError(f"--max-length is {max_length}; expected the number of tokens to cut texts to, 1 or more")


def _check_target(path: Path) -> None:
    """Refuse a file that could not be written, before the model has run for it."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise CheckpointNotFoundError(f"folder {str(path.parent)!r} does not exist; create it, or save elsewhere")
    refuse_other_kinds(path, follow_links=True)
    if not os.access(folder, os.W_OK):
        raise InputError(f"folder {str(path.parent)!r} cannot be written to; save elsewhere")


def _read_texts(texts: list[str], pairs: list[str], file: str | None) -> tuple[list[str], list[str] | None]:
    if file is None and not texts:
        raise InputError("no text was given; pass --text, or --file with a path or - for standard input")
    if file is None:
        return texts, pairs or None
    if texts or pairs:
        raise InputError("--file was given together with --text or --text-pair; use one of them")
    rows = [line.partition("\t") for line in read_lines(file)]
    alone = [number for number, (_, tab, _) in enumerate(rows, 1) if not tab]
    if alone and len(alone) < len(rows):
        raise InputError(
            f"{file!r} has a tab and a second text in some lines and not in line {alone[0]}; put one in all"
        )
    return [first for first, _, _ in rows], [second for _, _, second in rows] if rows[0][1] else None
