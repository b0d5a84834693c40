"""`modeloutputs generate`: continues prompts; the text of a single prompt is streamed."""

from typing import Annotated

import typer

from ..errors import InputError
from .texts import read_lines
from .wings import FrameworkName

__all__ = ["generate"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells report it."""


def generate(
    model: Annotated[str, typer.Option(help="A checkpoint folder, or a hub id.")],
    prompt: Annotated[
        list[str] | None, typer.Option(help="A text to continue; may be repeated. BART generates a text from it.")
    ] = None,
    file: Annotated[str | None, typer.Option(help="A file with a prompt per line; - for standard input.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Maximum number of new tokens; by default 128, or what the model has room for.")
    ] = None,
    num_beams: Annotated[int | None, typer.Option(help="Number of beams for beam search.")] = None,
    do_sample: Annotated[
        bool, typer.Option("--do-sample", help="Sample each token instead of taking the most likely one.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Softmax temperature: below 1 favours likely tokens.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from this many of the most likely tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the smallest set of tokens with this total probability.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Sample from tokens with at least this fraction of the highest probability.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1, tokens that occurred before are less likely.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="Above 0, beam search favours longer texts; below 0, shorter ones.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --do-sample: the same seed gives the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop after this text; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    framework: Annotated[
        FrameworkName, typer.Option(help="What the model runs in; a seed draws another text in each.")
    ] = FrameworkName.TORCH,
) -> None:
    """Print prompts with their continuations; that of a single prompt is streamed.

    The number of tokens and the speed are printed on standard error.
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
        from .session import generate_text  # slow to import

        generate_text(model, prompts, given, seed, framework=framework, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo()  # or the shell's prompt would follow half a line
        raise typer.Exit(INTERRUPTED) from None


def _read_prompts(prompts: list[str], file: str | None) -> list[str]:
    if prompts and file is not None:
        raise InputError("--file was given together with --prompt; use one of them")
    if not prompts and file is None:
        raise InputError("no prompt was given; pass --prompt, or --file with a path or - for standard input")
    return prompts if file is None else read_lines(file)
