"""`modeloutputs generate` in PyTorch: prompts in, generated text out."""

import time
from dataclasses import dataclass
from typing import Any

import torch
import typer
from torch import Tensor

from ..errors import InputError
from ..files.checkpoints import find_checkpoint
from ..files.folders import check_folder
from ..tokenizers import PreTrainedTokenizer, TextStream, load_tokenizer
from ..torch import BartForConditionalGeneration, GenerateOutput, GenerationSettings
from ..torch.auto import AnyLanguageModel, load_language_model
from .screen import escape_for_terminal, print_json

__all__ = ["generate_text"]

SMALLEST_SEED, LARGEST_SEED = -(2**63), 2**64 - 1
"""What PyTorch's generators take."""


def generate_text(
    name_or_path: str, prompts: list[str], options: dict[str, Any], seed: int | None, *, as_json: bool
) -> None:
    """Print prompts with the text generated from them, and on standard error the speed.

    Args:
        name_or_path: checkpoint folder or hub id.
        prompts: a single one is streamed, several are printed when all are finished.
        options: arguments of `GenerationSettings`.
        seed: of the random generator; None for a different one each time.
        as_json: print one JSON object, with tokens and scores.

    Raises:
        InputError: invalid options or prompts.
        CheckpointError: the checkpoint cannot be loaded.
    """
    folder = find_checkpoint(name_or_path)
    check_folder(folder)
    tokenizer = load_tokenizer(folder)
    options = {**options, "tokenizer": tokenizer}
    without_effect = GenerationSettings.of(options).without_effect()  # refuses invalid ones before weights are read
    if without_effect:
        raise InputError(without_effect[0])
    if seed is not None:
        if not SMALLEST_SEED <= seed <= LARGEST_SEED:
            raise InputError(f"--seed is {seed}; expected {SMALLEST_SEED} to {LARGEST_SEED}")
        options["generator"] = torch.Generator().manual_seed(seed)
    session = GenerationSession(load_language_model(folder), tokenizer, prompts)
    streams = len(prompts) == 1 and not as_json and options.get("num_beams", 1) == 1
    start = time.perf_counter()
    output = session.stream(options) if streams else session.generate(options)
    seconds = time.perf_counter() - start
    if as_json:
        print_json({"results": session.results(output), "seconds": seconds})
    elif not streams:
        session.write(output)
    count = int(output.generated.sum())
    typer.echo(f"{count} tokens in {seconds:.2f} s, {count / max(seconds, 1e-9):.1f} tokens/s", err=True)


@dataclass
class Row:
    """A prompt and its tokens."""

    prompt: str
    ids: list[int]


class GenerationSession:
    """Prompts, the model that continues them, and the tokenizer that decodes its tokens."""

    def __init__(self, model: AnyLanguageModel, tokenizer: PreTrainedTokenizer, prompts: list[str]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        # An encoder-decoder does not continue the prompt: it generates a text of its own.
        self.is_encoder_decoder = isinstance(model, BartForConditionalGeneration)
        self.rows = [Row(prompt, ids) for prompt, ids in zip(prompts, self._encode(prompts), strict=True)]

    def _encode(self, prompts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(prompts, return_special_tokens_mask=True)
        pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
        rows = [list(ids) if self.is_encoder_decoder else _open_ended(ids, special) for ids, special in pairs]
        first = _first_set(self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [row or ([] if first is None else [first]) for row in rows]

    def generate(self, options: dict[str, Any]) -> GenerateOutput:
        """Generate from all prompts in one batch."""
        pad = _first_set(self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        if pad is not None and pad >= self.model.config.vocab_size:
            pad = None
        width = max(len(row.ids) for row in self.rows)
        ids = torch.full((len(self.rows), width), pad or 0, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(self.rows):
            start = width - len(row.ids)
            ids[i, start:] = torch.tensor(row.ids, dtype=torch.int64)
            mask[i, start:] = 1
        return self.model.generate(ids, mask, pad_token_id=pad, **options)

    def stream(self, options: dict[str, Any]) -> GenerateOutput:
        """Print the prompt once the first token is there, then the text as it is generated."""
        (row,) = self.rows
        text: TextStream | None = None

        def on_tokens(tokens: Tensor) -> None:
            nonlocal text
            if text is None:
                text = self._text_after(row)
                self._write_prompt(row)
            typer.echo(escape_for_terminal(text.push(int(tokens))), nl=False)

        output = self.generate({**options, "on_tokens": on_tokens})
        typer.echo("" if text is None else escape_for_terminal(text.finish()))
        return output

    def write(self, output: GenerateOutput) -> None:
        """Print each prompt with its text, separated by empty lines."""
        for i, (row, new) in enumerate(self._rows_of(output)):
            if i:
                typer.echo()
            self._write_prompt(row)
            typer.echo(escape_for_terminal(self._text(row, new)))

    def results(self, output: GenerateOutput) -> list[dict[str, Any]]:
        """Return for each prompt its text and tokens, and the beam search score if there is one."""
        results: list[dict[str, Any]] = [
            {"prompt": row.prompt, "text": self._text(row, new), "tokens": new} for row, new in self._rows_of(output)
        ]
        if output.sequences_scores is not None:
            for result, score in zip(results, output.sequences_scores, strict=True):
                result["score"] = float(score)
        return results

    def _rows_of(self, output: GenerateOutput) -> list[tuple[Row, list[int]]]:
        return [(row, list(map(int, new))) for row, new in zip(self.rows, output.new_tokens(), strict=True)]

    def _text(self, row: Row, new: list[int]) -> str:
        text = self._text_after(row)
        return text.push(new) + text.finish()

    def _text_after(self, row: Row) -> TextStream:
        """Return a decoder of the tokens that follow a prompt."""
        text = TextStream(self.tokenizer, skip_special_tokens=True)
        if not self.is_encoder_decoder:
            text.push(row.ids)
        return text

    def _write_prompt(self, row: Row) -> None:
        if not self.is_encoder_decoder:
            typer.secho(escape_for_terminal(row.prompt), dim=True, nl=False)


def _first_set(token: int | None, other: int | None) -> int | None:
    return other if token is None else token


def _open_ended(ids: list[int], special: list[int]) -> list[int]:
    """Remove the special tokens after a text, so that it can be continued."""
    stop = len(ids)
    while stop > 1 and special[stop - 1]:
        stop -= 1
    return ids[:stop]
