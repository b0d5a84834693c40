"""For each of the 19 output classes a public call that fills every field of it: `python -m tests.torch.producers`.

Several calls where models of several kinds return a class.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from modeloutputs import ModelOutput
from modeloutputs.torch import outputs

from .tiny import BY_NAME, WIDTH, Head, states

ROWS = 2


@dataclass(frozen=True)
class Producer:
    """A head and what makes it fill all that it can."""

    head: str
    returns: type[ModelOutput]
    extra: tuple[str, ...] = ()
    """Flags beyond those for hidden states and attentions, as they are written in the call."""

    @property
    def call(self) -> str:
        given = ["input_ids"]
        given += ["encoder_hidden_states=..."] if _head(self).crosses else []
        given += [f"{name}=..." for name in _labels(self)]
        return f"{_head(self).cls.__name__}({', '.join([*given, *self.extra])})"

    def __call__(self) -> Any:
        """Call a tiny model."""
        head = _head(self)
        encoder = {"encoder_hidden_states": states(ROWS, 5)} if head.crosses else {}
        flags = {name: value == "True" for name, value in (flag.split("=") for flag in self.extra)}
        both = {"output_hidden_states": True, "output_attentions": True}
        rows = ROWS * 2 if head.has_choices else ROWS
        with torch.no_grad():
            return head.model()(**head.inputs(rows), **_labels(self), **encoder, **both, **flags)


def _head(producer: Producer) -> Head:
    return BY_NAME[producer.head]


def _labels(producer: Producer) -> dict[str, Any]:
    head = _head(producer)
    return head.labels_for(ROWS * 2 if head.has_choices else ROWS, WIDTH)


CACHED = ("use_cache=True",)

PRODUCERS = (
    Producer("BartEncoder", outputs.BaseModelOutput),
    Producer("OpenAIGPTModel", outputs.BaseModelOutput),
    Producer("BartDecoder", outputs.BaseModelOutputWithCrossAttentions, ("use_cache=False",)),
    Producer("LlamaModel", outputs.BaseModelOutputWithPast, CACHED),
    Producer("GPT2Model", outputs.BaseModelOutputWithPastAndCrossAttentions, CACHED),
    Producer("BartDecoder", outputs.BaseModelOutputWithPastAndCrossAttentions, CACHED),
    Producer("BertModel, encoder", outputs.BaseModelOutputWithPooling),
    Producer("BertModel, decoder", outputs.BaseModelOutputWithPoolingAndCrossAttentions, CACHED),
    Producer("OpenAIGPTLMHeadModel", outputs.CausalLMOutput),
    Producer("GPT2LMHeadModel", outputs.CausalLMOutputWithCrossAttentions, CACHED),
    Producer("BartForCausalLM", outputs.CausalLMOutputWithCrossAttentions, CACHED),
    Producer("BertLMHeadModel", outputs.CausalLMOutputWithCrossAttentions, CACHED),
    Producer("LlamaForCausalLM", outputs.CausalLMOutputWithPast, CACHED),
    Producer("BertForMaskedLM", outputs.MaskedLMOutput),
    Producer("BertForMultipleChoice", outputs.MultipleChoiceModelOutput),
    Producer("BertForNextSentencePrediction", outputs.NextSentencePredictorOutput),
    Producer("BertForQuestionAnswering", outputs.QuestionAnsweringModelOutput),
    Producer("BartForConditionalGeneration", outputs.Seq2SeqLMOutput, CACHED),
    Producer("BartModel", outputs.Seq2SeqModelOutput, CACHED),
    Producer("BartForQuestionAnswering", outputs.Seq2SeqQuestionAnsweringModelOutput, CACHED),
    Producer("BartForSequenceClassification", outputs.Seq2SeqSequenceClassifierOutput, CACHED),
    Producer("BertForSequenceClassification, one class", outputs.SequenceClassifierOutput),
    Producer("GPT2ForSequenceClassification, one class", outputs.SequenceClassifierOutput),
    Producer("BertForTokenClassification", outputs.TokenClassifierOutput),
)


def filled(producer: Producer) -> bool:
    """Whether the call returns exactly its class, every field of it filled and as declared."""
    output = producer()
    output.check()
    return type(output) is producer.returns and list(output) == list(producer.returns.__output_fields__)


def classes() -> Iterator[tuple[str, list[Producer]]]:
    """Yield each output class and the calls that return it."""
    for name in outputs.__all__:
        yield name, [producer for producer in PRODUCERS if producer.returns.__name__ == name]


def main() -> None:
    """Make every call and print the table."""
    table = Table("class", "public call that returns it, every field filled", box=None, pad_edge=False)
    good = 0
    for name, producers in classes():
        calls = [producer for producer in producers if filled(producer)]
        good += bool(calls) and len(calls) == len(producers)
        for i, producer in enumerate(producers):
            table.add_row("" if i else name, producer.call + ("" if producer in calls else "  [red]not filled[/red]"))
    console = Console(width=150)
    console.print(table)
    console.print(f"\n{good} of {len(outputs.__all__)} classes")


if __name__ == "__main__":
    main()
