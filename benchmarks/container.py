"""The container beside transformers' and a plain dataclass: building, reading, converting, pickling."""

import dataclasses
import pickle
from collections.abc import Callable

import torch
from transformers.modeling_outputs import Seq2SeqLMOutput as PeerSeq2Seq
from transformers.modeling_outputs import SequenceClassifierOutput as PeerClassifier

from harness import Row, print_table, time_in_turn
from modeloutputs.torch import Seq2SeqLMOutput, SequenceClassifierOutput

ROUNDS, CALLS = 41, 500
NINE = (
    "loss", "logits", "past_key_values", "decoder_hidden_states", "decoder_attentions",
    "cross_attentions", "encoder_last_hidden_state", "encoder_hidden_states", "encoder_attentions",
)  # fmt: skip


@dataclasses.dataclass
class Plain:
    """What a field costs at least."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: torch.Tensor | None = None
    attentions: torch.Tensor | None = None


def compare(
    what: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    target: float,
    *,
    faster: bool = True,
    repeat: int = 1,
) -> Row:
    """Time two callables in turn; `repeat` says how often each does the thing itself in one call."""
    times = time_in_turn({"ours": ours, "peer": peer}, ROUNDS, calls=CALLS)
    return Row(what, times["ours"] / repeat, times["peer"] / repeat, target, faster)


def reader(output: object) -> Callable[[], None]:
    """Read an attribute 100 times, so that the call around it does not count."""

    def read() -> None:
        for _ in range(100):
            output.loss  # noqa: B018  # the read is what is timed

    return read


def main() -> None:
    """Print both tables."""
    tensor = torch.ones(2)
    nine = dict.fromkeys(NINE, tensor)
    ours, peer = SequenceClassifierOutput(loss=tensor, logits=tensor), PeerClassifier(loss=tensor, logits=tensor)
    # One small tensor pickles slower than any container around it: numbers show the container.
    light, peer_light = SequenceClassifierOutput(loss=1.0, logits=2.0), PeerClassifier(loss=1.0, logits=2.0)
    rows = [
        compare(
            "build, 2 fields",
            lambda: SequenceClassifierOutput(loss=tensor, logits=tensor),
            lambda: PeerClassifier(loss=tensor, logits=tensor),
            10,
        ),
        compare("build, 9 fields", lambda: Seq2SeqLMOutput(**nine), lambda: PeerSeq2Seq(**nine), 8),
        compare("integer index", lambda: ours[0], lambda: peer[0], 4),
        compare("key", lambda: ours["loss"], lambda: peer["loss"], 2),
        compare("to_tuple", ours.to_tuple, peer.to_tuple, 5),
        compare(
            "pickle round trip, without tensors",
            lambda: pickle.loads(pickle.dumps(light)),
            lambda: pickle.loads(pickle.dumps(peer_light)),
            5,
        ),
    ]
    print_table("Container, beside transformers'", rows, peer="transformers")
    plain = Plain(loss=tensor, logits=tensor)
    row = compare("attribute read", reader(ours), reader(plain), 4, faster=False, repeat=100)
    print_table("Container, beside a plain dataclass", [row], peer="dataclass")


if __name__ == "__main__":
    main()
