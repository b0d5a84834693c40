"""`modeloutputs generate`: goes on from prompts; a single prompt's text is written as it comes."""

from types import ModuleType
from typing import Annotated

import typer

from ..errors import InputError, MissingDependencyError
from .texts import read_lines

__all__ = ["generate"]

STOPPED = 130
"""Exit status of what Ctrl-C ended, as shells have it."""


def generate(
    model: Annotated[str, typer.Option(help="A checkpoint folder, or a hub id.")],
    prompt: Annotated[
        list[str] | None, typer.Option(help="A text to go on from; may be repeated. BART reads it and answers.")
    ] = None,
    file: Annotated[str | None, typer.Option(help="A file with a prompt per line; - for standard input.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Tokens to generate at most; 128, or what the model has room for.")
    ] = None,
    num_beams: Annotated[int | None, typer.Option(help="Beam search with so many beams.")] = None,
    do_sample: Annotated[
        bool, typer.Option("--do-sample", help="Draw each token at random instead of taking the likeliest.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Below 1 draws likely tokens more often, above 1 less often.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many of the likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the fewest tokens that are this probable together.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Draw from tokens at least so many times as probable as the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1, tokens that were there before are less likely to come again.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="Above 0, beam search favours longer texts, below 0 shorter ones.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --do-sample: the same seed draws the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End once this text has come; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Go on from prompts and print them with what comes, a single one's text as it comes.

    How many tokens came, and how fast, is said on standard error.
    """
    options = {
        "max_new_tokens": max_new_tokens,
        "num_beams": num_beams,
        "do_sample": do_sample or None,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "length_penalty": length_penalty,
        "stop_strings": stop or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    try:
        prompts = _read_prompts(prompt or [], file)
        _import_work().go_on(model, prompts, given, seed, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo()  # the shell's prompt is not to follow half a line
        raise typer.Exit(STOPPED) from None


def _import_work() -> ModuleType:
    try:
        from . import continuing
    except ImportError as error:
        raise MissingDependencyError(f"running a model needs modeloutputs[torch] ({error})") from None
    return continuing


def _read_prompts(prompts: list[str], file: str | None) -> list[str]:
    if prompts and file is not None:
        raise InputError("--file was given together with --prompt; use one of the ways")
    if not prompts and file is None:
        raise InputError("no prompt was given; pass --prompt, or --file with a path or - for standard input")
    return prompts if file is None else read_lines(file)
