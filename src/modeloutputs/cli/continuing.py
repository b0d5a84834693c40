"""What `modeloutputs generate` does, in PyTorch: prompts into a model, and the text that comes of them out."""

import json
import time
from dataclasses import dataclass
from typing import Any

import torch
import typer
from torch import Tensor

from ..tokenizers import PreTrainedTokenizer, TextStream, load_tokenizer
from ..torch import BartForConditionalGeneration, GenerateOutput, GenerationSettings
from ..torch.auto import AnyLanguageModel, load_language_model

__all__ = ["go_on"]


def go_on(name_or_path: str, prompts: list[str], options: dict[str, Any], seed: int | None, *, as_json: bool) -> None:
    """Print prompts with what a checkpoint's model makes of them, and on standard error how fast that was.

    Args:
        name_or_path: checkpoint folder or hub id.
        prompts: one is written as it comes, several when all are done.
        options: of `GenerationSettings`.
        seed: of what is drawn; None for another one each time.
        as_json: print tokens and scores too, as one JSON object.

    Raises:
        InputError: options or prompts that cannot be.
        CheckpointError: the checkpoint cannot be loaded.
    """
    tokenizer = load_tokenizer(name_or_path)
    options = {**options, "tokenizer": tokenizer}
    GenerationSettings.of(options)  # wrong ones are refused before weights are read
    if seed is not None:
        options["generator"] = torch.Generator().manual_seed(seed)
    going = Continuing(load_language_model(name_or_path), tokenizer, prompts)
    streams = len(prompts) == 1 and not as_json and options.get("num_beams", 1) == 1
    start = time.perf_counter()
    output = going.stream(options) if streams else going.generate(options)
    seconds = time.perf_counter() - start
    if as_json:
        typer.echo(json.dumps({"results": going.results(output), "seconds": seconds}, indent=2, ensure_ascii=False))
    elif not streams:
        going.write(output)
    count = int(output.generated.sum())
    typer.echo(f"{count} tokens in {seconds:.2f} s, {count / max(seconds, 1e-9):.1f} tokens/s", err=True)


@dataclass
class Row:
    """A prompt and its tokens."""

    prompt: str
    ids: list[int]


class Continuing:
    """Prompts, the model that goes on from them, and the tokenizer that turns what comes into text."""

    def __init__(self, model: AnyLanguageModel, tokenizer: PreTrainedTokenizer, prompts: list[str]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        # What an encoder has read is not gone on from: what comes is a text of its own.
        self.answers = isinstance(model, BartForConditionalGeneration)
        self.rows = [Row(prompt, ids) for prompt, ids in zip(prompts, self._encode(prompts), strict=True)]

    def _encode(self, prompts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer(prompts, return_special_tokens_mask=True)
        pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
        rows = [list(ids) if self.answers else _open_ended(ids, special) for ids, special in pairs]
        first = _either(self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [row or ([] if first is None else [first]) for row in rows]

    def generate(self, options: dict[str, Any]) -> GenerateOutput:
        """Go on from all prompts at once."""
        pad = _either(self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
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
        """Write the prompt once its first token has come, and what comes as it comes."""
        (row,) = self.rows
        text: TextStream | None = None

        def on_tokens(tokens: Tensor) -> None:
            nonlocal text
            if text is None:
                text = self._text_after(row)
                self._write_prompt(row)
            typer.echo(text.push(int(tokens)), nl=False)

        output = self.generate({**options, "on_tokens": on_tokens})
        typer.echo("" if text is None else text.finish())
        return output

    def write(self, output: GenerateOutput) -> None:
        """Write each prompt with what came, an empty line between two."""
        for i, (row, new) in enumerate(self._rows_of(output)):
            if i:
                typer.echo()
            self._write_prompt(row)
            typer.echo(self._text(row, new))

    def results(self, output: GenerateOutput) -> list[dict[str, Any]]:
        """Return for each prompt its text and tokens, and the score that beam search gave it."""
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
        """Return what makes text of tokens as they read after a prompt."""
        text = TextStream(self.tokenizer, skip_special_tokens=True)
        if not self.answers:
            text.push(row.ids)
        return text

    def _write_prompt(self, row: Row) -> None:
        if not self.answers:
            typer.secho(row.prompt, dim=True, nl=False)


def _either(token: int | None, other: int | None) -> int | None:
    return other if token is None else token


def _open_ended(ids: list[int], special: list[int]) -> list[int]:
    """Leave out what the tokenizer puts behind a text: the text is to go on."""
    stop = len(ids)
    while stop > 1 and special[stop - 1]:
        stop -= 1
    return ids[:stop]
