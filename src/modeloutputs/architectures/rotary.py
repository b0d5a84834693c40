"""Rotary positions and the ways of stretching them to a longer context: settings, and the angles of each length.

Su et al. (2021), section 3.2.2: pair i of a head's components turns by theta^(-2 i / head_dim) from one position to the
next. The ways of stretching are those of config.json; each is computed as transformers does, from the source named.
"""

import math
import sys
from typing import Any, NamedTuple, cast

from ..errors import InputError
from .setting_checks import shown

__all__ = ["ROPE_TYPES", "Rotary", "RotarySettings", "settle_rotary"]

_REQUIRED: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": (),
    "longrope": (),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
_OPTIONAL = (
    "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
    "mscale_all_dim",
)  # fmt: skip

ROPE_TYPES = tuple(_REQUIRED)
"""The ways of stretching positions that are implemented, the first for none."""

_BY_LENGTH = ("dynamic", "longrope")


class Rotary(NamedTuple):
    """The angles of rotary positions."""

    frequencies: list[float]
    """By which angle each pair of a head's components turns from one position to the next, fastest first."""
    factor: float = 1.0
    """What cosines and sines are multiplied by."""


class RotarySettings(NamedTuple):
    """What the angles follow from, as `settle_rotary` has checked it."""

    theta: float
    head_dim: int
    max_positions: int
    """`max_position_embeddings`."""
    scaling: dict[str, Any]
    """`rope_scaling`, with its `rope_type`."""

    @property
    def depends_on_length(self) -> bool:
        """Whether the angles are others where a row is longer than the context that the model was trained with."""
        return self.scaling["rope_type"] in _BY_LENGTH

    @property
    def original(self) -> float:
        """Positions of the context that the model was trained with before it was stretched."""
        return self.scaling.get("original_max_position_embeddings") or self.max_positions

    @property
    def context(self) -> int:
        """Positions that the model is made for."""
        factor = self.scaling.get("factor") or 1.0
        stretched = self.max_positions if self.scaling["rope_type"] in ("linear", "dynamic") else self.original
        return max(self.max_positions, int(stretched * factor))

    def rotary(self, length: int = 0) -> Rotary:
        """Return the angles for a row of `length` positions."""
        kind = self.scaling["rope_type"]
        if kind == "linear":  # Chen et al. (2023), section 2.3: all pairs turn alike more slowly
            return Rotary([frequency / self.scaling["factor"] for frequency in self._plain()])
        if kind == "dynamic":
            return Rotary(self._plain(self._grown_theta(length)))
        if kind == "llama3":
            return Rotary([_stretched(frequency, self.original, self.scaling) for frequency in self._plain()])
        if kind == "yarn":
            return self._yarn()
        return self._longrope(length) if kind == "longrope" else Rotary(self._plain())

    def _plain(self, theta: float | None = None) -> list[float]:
        base = self.theta if theta is None else theta
        return [base ** (-2 * pair / self.head_dim) for pair in range(self.head_dim // 2)]

    def _grown_theta(self, length: int) -> float:
        """Return theta for a row longer than the context: the slower a pair, the more it is stretched.

        NTK-aware scaling, as its authors published it in 2023 and Peng et al. (2023), section 3.3, describe it.
        """
        factor = self.scaling["factor"]
        stretch = factor * max(length, self.max_positions) / self.max_positions - (factor - 1)
        return self.theta * stretch ** (self.head_dim / (self.head_dim - 2))

    def _yarn(self) -> Rotary:
        """Stretch slow pairs, leave fast ones, and mix those between (Peng et al., 2023, sections 3.2 and 3.4)."""
        scaling = self.scaling
        factor = scaling.get("factor") or self.max_positions / self.original
        low, high = (self._pair_that_turns(scaling.get(name) or usual) for name, usual in _YARN_TURNS)
        if scaling.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.head_dim - 1)
        width = high - low or 0.001
        ramp = [min(max((pair - low) / width, 0.0), 1.0) for pair in range(self.head_dim // 2)]
        mixed = [
            stretched * frequency / factor + (1 - stretched) * frequency
            for frequency, stretched in zip(self._plain(), ramp, strict=True)
        ]
        return Rotary(mixed, _yarn_factor(scaling, factor))

    def _pair_that_turns(self, times: float) -> float:
        """Return which pair turns so often within the original context, as a fraction between two."""
        return self.head_dim * math.log(self.original / (times * 2 * math.pi)) / (2 * math.log(self.theta))

    def _longrope(self, length: int) -> Rotary:
        """Divide each pair by a number of its own, which differs for long rows (Ding et al., 2024, section 3)."""
        scaling = self.scaling
        factors = scaling["long_factor" if length > self.original else "short_factor"]
        factor = scaling.get("factor") or self.max_positions / self.original
        cosine = scaling.get("attention_factor")
        if cosine is None:
            cosine = math.sqrt(1 + math.log(factor) / math.log(self.original)) if factor > 1 else 1.0
        return Rotary([frequency / own for frequency, own in zip(self._plain(), factors, strict=True)], float(cosine))


_YARN_TURNS = (("beta_fast", 32), ("beta_slow", 1))


def _yarn_factor(scaling: dict[str, Any], factor: float) -> float:
    def grown(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    given, own, all_dims = (scaling.get(name) for name in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None:
        return float(given)
    return grown(own) / grown(all_dims) if own and all_dims else grown(1.0)


def _stretched(frequency: float, original: float, scaling: dict[str, Any]) -> float:
    """Slow a pair down by how often it turns within the original context: fast pairs not, slow ones by the factor.

    Pairs between the two bounds are mixed of both, in proportion to their turns (Llama 3.1's reference code,
    `apply_scaling`).
    """
    turns = original * frequency / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = min(max((turns - low) / (high - low), 0.0), 1.0)
    return kept * frequency + (1 - kept) * frequency / scaling["factor"]


# -- checking ---------------------------------------------------------------------------------------------------------


def settle_rotary(theta: Any, scaling: Any, head_dim: int) -> tuple[float, dict[str, Any] | None]:
    """Return the two rotary settings checked, the second with its `rope_type`, or None where nothing is scaled.

    Raises:
        InputError: a setting of another type, a number that is missing or not positive, a way that is not implemented.
    """
    if scaling is not None and not isinstance(scaling, dict):
        raise InputError(f"rope_scaling is {shown(scaling)}; expected a mapping with rope_type and its numbers")
    settings = dict(cast("dict[str, Any]", scaling or {}))
    theta = settings.pop("rope_theta", theta)
    _require_positive_number("rope_theta", theta)
    if settings:
        settings["rope_type"] = settings.get("rope_type", settings.get("type"))
        _check_scaling(settings, head_dim)
    return float(theta), None if settings in ({}, {"rope_type": "default"}) else settings


def _check_scaling(scaling: dict[str, Any], head_dim: int) -> None:
    kind = scaling["rope_type"]
    if not isinstance(kind, str) or kind not in _REQUIRED:
        raise InputError(f"rope_scaling has rope_type {shown(kind)}; there are {', '.join(ROPE_TYPES)}")
    given = [name for name in _OPTIONAL if kind != "default" and scaling.get(name) is not None]
    for name in dict.fromkeys((*_REQUIRED[kind], *given)):
        _require_positive_number(f"{name} of {kind} rope_scaling", scaling.get(name))
    if scaling.get("partial_rotary_factor", 1) != 1:
        raise InputError("rope_scaling has a partial_rotary_factor; only whole heads are turned")
    if kind == "llama3" and scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        raise InputError(f"rope_scaling has low_freq_factor {low}, which must be below its high_freq_factor {high}")
    if kind == "longrope":
        _check_factors(scaling, head_dim // 2)
    if kind == "dynamic" and head_dim <= 2:
        raise InputError(f"dynamic rope_scaling needs a head_dim above 2, and it is {head_dim}")


def _check_factors(scaling: dict[str, Any], pairs: int) -> None:
    for name in ("short_factor", "long_factor"):
        factors: Any = scaling.get(name)
        if not isinstance(factors, (list, tuple)) or len(cast("list[Any]", factors)) != pairs:
            raise InputError(
                f"{name} of longrope rope_scaling is {factors!r}; expected {pairs} numbers, half of head_dim"
            )
        for factor in cast("list[Any]", factors):
            _require_positive_number(f"an entry of {name} of longrope rope_scaling", factor)


def _require_positive_number(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        raise InputError(f"{name} is {shown(value)}; it must be a positive number")
