"""What the parts of `native.py` share: races of several contenders, and outputs of four sizes to race with."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness import Row, per_call, time_in_turn

__all__ = [
    "SIZES",
    "Call",
    "Race",
    "race",
    "shown_noise",
    "struct_like",
    "summed_up",
    "with_ours_again",
    "without_loss",
]

Call = Callable[[], object]

FLOORS = ("tuple", "dict")
"""Contenders that keep no class and no attributes: what is left when a container costs nothing."""

# A scheduler's slice is some milliseconds: of blocks much shorter than it, most run undisturbed on a busy machine.
BLOCK = 5e-4
ROUNDS = (5, 401)
AGAIN, SPACER = "ours again", ""

_noises: list[float] = []


@dataclass(frozen=True)
class Race:
    """The medians of all contenders of one row, and how far apart two medians of one and the same call are."""

    what: str
    times: dict[str, float]
    rounds: int
    noise: float

    def row(self, *peers: str, target: float | None = 1.0, faster: bool = False, note: str = "") -> Row:
        """Return the line beside the best of these peers; of all that are no floor, unless some are named."""
        rivals = peers or tuple(name for name in self.times if name not in ("ours", *FLOORS))
        best = min(rivals, key=self.times.__getitem__)
        others = [f"{name} {per_call(value)}" for name, value in self.times.items() if name not in ("ours", best)]
        details = "; ".join(filter(None, [note, ", ".join(others)]))
        return Row(
            f"{self.what}, {best}", self.times["ours"], self.times[best], target, faster,
            note=f"{details} ({self.rounds} rounds, ±{self.noise:.1%})".lstrip(),
        )  # fmt: skip


def race(what: str, contenders: Mapping[str, Call], seconds: float = 1.0) -> Race:
    """Time contenders in turn for about so many seconds.

    One of them is "ours". It runs a second time in each round; by how much its two medians differ is the noise, and a
    difference between contenders that is not larger says nothing.
    """
    everyone = with_ours_again(contenders)
    estimates = time_in_turn(everyone, 1, warmup=1)
    gc.collect()
    gc.freeze()  # else what the frameworks keep alive is gone through again and again, in whoever's turn it is
    total = sum(estimates.values())
    calls = max(1, int(BLOCK * len(everyone) / total))
    rounds = int(min(max(seconds / (calls * total), ROUNDS[0]), ROUNDS[1]))
    return summed_up(what, time_in_turn(everyone, rounds, calls=calls), rounds)


def with_ours_again(contenders: Mapping[str, Call]) -> dict[str, Call]:
    """Return an order of a round in which ours runs twice, and never after itself: it would find its caches warm."""
    first, second, *rest = contenders.items()
    return dict([first, second, (AGAIN, contenders["ours"]), *(rest or [(SPACER, second[1])])])


def summed_up(what: str, times: dict[str, float], rounds: int) -> Race:
    """Return a race from medians that include those of `AGAIN`."""
    again = times.pop(AGAIN)
    times.pop(SPACER, None)
    noise = abs(times["ours"] / again - 1)
    _noises.append(noise)
    return Race(what, times, rounds, noise)


def shown_noise() -> str:
    """Say what the noise was in all races so far."""
    ordered = sorted(_noises)
    return (
        f"noise, the same call timed twice in each of {len(ordered)} races: "
        f"{ordered[len(ordered) // 2]:.1%} in the middle one, {ordered[-1]:.1%} in the worst"
    )


# -- what is raced with -------------------------------------------------------------------------------------------

SEQ2SEQ = (
    "loss", "logits", "past_key_values", "decoder_hidden_states", "decoder_attentions",
    "cross_attentions", "encoder_last_hidden_state", "encoder_hidden_states", "encoder_attentions",
)  # fmt: skip


def _small(x: Any) -> dict[str, Any]:
    return {"loss": x, "logits": x}


def _with_states(x: Any) -> dict[str, Any]:
    return {"logits": x, "hidden_states": (x,) * 13}


def _nine(x: Any) -> dict[str, Any]:
    states = (x,) * 13
    return {**dict.fromkeys(SEQ2SEQ, x), "decoder_hidden_states": states, "encoder_hidden_states": states}


def _everything(x: Any) -> dict[str, Any]:
    attentions = dict.fromkeys(("decoder_attentions", "cross_attentions", "encoder_attentions"), (x,) * 12)
    return {**_nine(x), **attentions, "past_key_values": ((x,) * 4,) * 12}


SIZES: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "2 fields": ("SequenceClassifierOutput", _small),
    "2 fields, 13 states": ("SequenceClassifierOutput", _with_states),
    "9 fields, 2 x 13 states": ("Seq2SeqLMOutput", _nine),
    "9 fields, all of 12 layers": ("Seq2SeqLMOutput", _everything),
}
"""By what a row says: the class, and its fields filled with one array."""


def without_loss(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as a Flax class has them, as many where there are two."""
    rest = {name: value for name, value in fields.items() if name != "loss"}
    return rest if len(rest) > 1 else {**rest, "hidden_states": fields["loss"]}


def struct_like(cls: type[Any]) -> type[Any]:
    """Return a `flax.struct.dataclass` with the fields of an output class."""
    import flax.struct

    names = cls.__output_fields__
    namespace = {"__annotations__": dict.fromkeys(names, Any), **dict.fromkeys(names)}
    return flax.struct.dataclass(type(f"{cls.__name__}Struct", (), namespace))
