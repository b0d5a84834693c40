"""Decoding as functions of arrays: the prompt, one step, and whole loops that are compiled as one.

B prompts, R rows that are decoded, L positions of prompts and new tokens, V words.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jax import Array

from ..generation.beams import BeamRules, BeamState, Candidates, candidates_per_beam
from .libraries import flatten, jax, jnp, unflatten
from .plan import DecodingPlan
from .sampling import sample_tokens
from .scores import Limits, SoFar, changed_scores

__all__ = ["Decoding", "DecodingState", "Generated", "PromptArrays"]


class PromptArrays(NamedTuple):
    """What is continued."""

    tokens: Any
    """(B, P) int32."""
    mask: Any
    """(B, P) of bool, False at padding, which is on the left."""
    encoder: dict[str, Any]
    """`encoder_hidden_states` (B, E, hidden) or, for an encoder to read, `input_ids` (B, E); and
    `encoder_attention_mask` (B, E)."""
    source: Any
    """(B, E) the tokens whose sequences do not come again, `PADDING` at padding."""


class DecodingState(NamedTuple):
    """Rows that are being decoded."""

    tokens: Array
    """(R, L) int32."""
    mask: Array
    """(R, L) of bool, False at padding before the prompts and after an end."""
    length: Any
    """Filled positions, the same of all rows: () int32."""
    places: Array
    """(R, 1) positions of the next tokens, as the model counts them."""
    logits: Array
    """(R, V) of the next token, float32 or wider."""
    cache: Any
    """Linen's collection, or None."""
    encoder: dict[str, Array]
    """`encoder_hidden_states` and `encoder_attention_mask`, as far as the next step reads them."""
    source: Array | None
    """(R, E)."""


class Generated(NamedTuple):
    """Finished sequences: N rows."""

    sequences: Array
    """(N, L)."""
    attended: Array
    """(N, L) of bool."""
    scores: Array | None
    """(N, new, V) that each new token was chosen by, 0 after the end of all; None where not asked for."""
    sequences_scores: Array | None
    """(N,), of beams."""


class _Carry(NamedTuple):
    """What a loop hands from one step to the next."""

    state: DecodingState
    finished: Array
    """(R,) of bool."""
    kept: Array | None
    """(new, R, V)."""
    key: Any


class _BeamCarry(NamedTuple):
    state: DecodingState
    beams: BeamState
    kept: Array | None
    key: Any


@dataclass(frozen=True)
class Decoding:
    """Decodes with a model as a plan says.

    Attributes:
        model: a `FlaxPreTrainedModel` whose module has `next_scores`.
        plan: the settings.
    """

    model: Any
    plan: DecodingPlan

    # -- steps --------------------------------------------------------------------------------------------------------

    def begin(self, params: Any, prompt: PromptArrays) -> DecodingState:
        """Read the prompts, and return the rows that continue them."""
        plan, rows = self.plan, len(prompt.tokens)
        encoder = self._encoded(params, dict(prompt.encoder))
        tokens = jnp.pad(prompt.tokens, ((0, 0), (0, plan.room)), constant_values=plan.fill_id)
        mask = jnp.pad(prompt.mask, ((0, 0), (0, plan.room)), constant_values=True)
        cache = self._empty_cache(rows, plan.start) if self._keeps_cache else None
        length = jnp.asarray(plan.start, jnp.int32)
        count = prompt.mask.sum(1, keepdims=True, dtype=jnp.int32)
        zeros = jnp.zeros((rows, 1))
        state = DecodingState(tokens, mask, length, count, zeros, cache, encoder, prompt.source)
        if cache is None:
            return self._repeated(self._read_all(params, state))
        logits, cache = self._scores(params, cache, prompt.tokens, prompt.mask, None, encoder)
        return self._repeated(
            state._replace(logits=logits, cache=self._with_room(cache), encoder=_without_states(encoder))
        )

    def step(self, params: Any, state: DecodingState) -> DecodingState:
        """Read the last token of each row."""
        if state.cache is None:
            return self._read_all(params, state)
        last = jax.lax.dynamic_slice_in_dim(state.tokens, state.length - 1, 1, 1)
        logits, cache = self._scores(params, state.cache, last, state.mask, state.places - 1, state.encoder)
        return state._replace(logits=logits, cache=cache)

    def scores(self, limits: Limits, state: DecodingState, allowed: Array | None = None) -> Array:
        """Return the scores (R, V) that the next token is chosen by: log probabilities for beams, else logits."""
        plan = self.plan
        scores = state.logits if plan.num_beams == 1 else jax.nn.log_softmax(state.logits, -1)
        so_far = SoFar(state.tokens, state.mask, state.length, state.source)
        return changed_scores(plan, limits, scores, so_far, allowed)

    def pick(self, key: Any, scores: Array, finished: Array) -> Array:
        """Return the best or a sampled token (R,) of each row, the fill token where it has finished (R,)."""
        tokens = sample_tokens(key, scores, 1)[:, 0] if self.plan.do_sample else jnp.argmax(scores, -1)
        return jnp.where(finished, self.plan.fill_id, tokens).astype(jnp.int32)

    def candidates(self, key: Any, scores: Array, running: Array) -> Candidates:
        """Return the best, or sampled, continuations of beams with the scores (B, K)."""
        plan, vocab = self.plan, scores.shape[1]
        sums = scores.reshape(*running.shape, vocab).astype(jnp.float32) + running[:, :, None]
        sums = sums.reshape(len(running), -1)
        count = min(plan.num_beams * candidates_per_beam(len(plan.eos_ids)), sums.shape[1])
        if plan.do_sample:
            indices = sample_tokens(key, sums, count)
            best = jnp.take_along_axis(sums, indices, 1)
        else:
            best, indices = jax.lax.top_k(sums, count)
        return Candidates(best, indices // vocab, indices % vocab)

    def append(self, state: DecodingState, tokens: Array, attended: Array) -> DecodingState:
        """Return the state with a token (R,) more in each row; `attended` (R,) is False after a row's end."""
        return state._replace(
            tokens=jax.lax.dynamic_update_slice_in_dim(state.tokens, tokens[:, None], state.length, 1),
            mask=jax.lax.dynamic_update_slice_in_dim(state.mask, attended[:, None], state.length, 1),
            length=state.length + 1,
            places=state.places + 1,
        )

    def reorder(self, state: DecodingState, rows: Array) -> DecodingState:
        """Continue from these rows (R,), each of the same prompt as the row that it replaces."""
        cache = state.cache
        if cache is not None:
            flat = {path: _at_rows(path, leaf, rows) for path, leaf in flatten(cache).items()}
            cache = unflatten(flat)
        return state._replace(tokens=jnp.take(state.tokens, rows, 0), cache=cache)

    def has_ended(self, tokens: Array) -> Array:
        """Return whether each token is an end token."""
        return (tokens[..., None] == jnp.asarray(self.plan.eos_ids, jnp.int32)).any(-1)

    # -- loops --------------------------------------------------------------------------------------------------------

    def generate(self, params: Any, prompt: PromptArrays, limits: Limits, key: Any) -> Generated:
        """Continue prompts until all rows have ended, or `limits.total` positions are filled."""
        state = self.begin(params, prompt)
        kept = None
        if self.plan.output_scores:
            kept = jnp.zeros((self.plan.room, *state.logits.shape), state.logits.dtype)
        limits = Limits(*(jnp.asarray(limit, jnp.int32) for limit in limits))
        return (self._sample if self.plan.num_beams == 1 else self._search)(params, state, kept, limits, key)

    def _sample(self, params: Any, state: DecodingState, kept: Any, limits: Limits, key: Any) -> Generated:
        def choose(carry: _Carry) -> _Carry:
            state, finished, kept, key = carry
            key, now = jax.random.split(key)
            scores = self.scores(limits, state)
            tokens = self.pick(now, scores, finished)
            kept = self._keep(kept, scores, state.length)
            return _Carry(self.append(state, tokens, ~finished), finished | self.has_ended(tokens), kept, key)

        def go_on(carry: _Carry) -> Array:
            return (carry.state.length < limits.total) & ~carry.finished.all()

        def advance(carry: _Carry) -> _Carry:
            return choose(carry._replace(state=self.step(params, carry.state)))

        first = choose(_Carry(state, jnp.zeros(len(state.tokens), bool), kept, key))
        state, _, kept, _ = jax.lax.while_loop(go_on, advance, first)
        attended = state.mask & (jnp.arange(state.mask.shape[1]) < state.length)
        return Generated(state.tokens, attended, None if kept is None else jnp.swapaxes(kept, 0, 1), None)

    def _search(self, params: Any, state: DecodingState, kept: Any, limits: Limits, key: Any) -> Generated:
        plan, beams = self.plan, self.plan.num_beams
        options = (beams, plan.length_penalty, plan.early_stopping)
        rules = BeamRules(jnp, plan.start, limits.total - plan.start, *options)

        def choose(carry: _BeamCarry) -> _BeamCarry:
            state, found, kept, key = carry
            key, now = jax.random.split(key)
            scores = self.scores(limits, state)
            extended = rules.extended(found, self.candidates(now, scores, found.running.scores))
            last = jax.lax.dynamic_index_in_dim(extended.sequences, state.length, 2, keepdims=False)
            step = found.step
            found = rules.advance(found, extended, self.has_ended(last) | (state.length + 1 == limits.total))
            rows = jax.lax.dynamic_index_in_dim(found.running.origins, step, 2, keepdims=False).reshape(-1)
            last = jax.lax.dynamic_index_in_dim(found.running.sequences, state.length, 2, keepdims=False)
            kept = self._keep(kept, scores, state.length)
            state = self.append(self.reorder(state, rows), last.reshape(-1), jnp.ones(len(rows), bool))
            return _BeamCarry(state, found, kept, key)

        def go_on(carry: _BeamCarry) -> Any:
            return rules.unfinished(carry.beams)

        def advance(carry: _BeamCarry) -> _BeamCarry:
            return choose(carry._replace(state=self.step(params, carry.state)))

        found = rules.begin(state.tokens[::beams, : plan.start], plan.fill_id, plan.room)
        first = choose(_BeamCarry(state, found._replace(step=jnp.asarray(0, jnp.int32)), kept, key))
        state, found, kept, _ = jax.lax.while_loop(go_on, advance, first)
        return self._best(state.mask[::beams, : plan.start], found, kept)

    def _best(self, prompts: Array, found: BeamState, kept: Array | None) -> Generated:
        """Return the best sequences of each prompt, whose mask is (B, P)."""
        plan, best = self.plan, found.best
        wanted = plan.num_return_sequences
        origins = best.origins[:, :wanted].reshape(-1, plan.room)
        attended = jnp.concatenate([jnp.repeat(prompts, wanted, 0), origins >= 0], 1)
        sequences = best.sequences[:, :wanted].reshape(len(origins), -1)
        if kept is not None:
            kept = kept[jnp.arange(plan.room), jnp.maximum(origins, 0)]
        return Generated(sequences, attended, kept, best.scores[:, :wanted].reshape(-1))

    def _keep(self, kept: Array | None, scores: Array, length: Array) -> Array | None:
        if kept is None:
            return None
        return jax.lax.dynamic_update_slice_in_dim(kept, scores[None], length - self.plan.start, 0)

    # -- the model ----------------------------------------------------------------------------------------------------

    @property
    def _keeps_cache(self) -> bool:
        return self.plan.use_cache and self.model.keeps_cache

    def _encoded(self, params: Any, encoder: dict[str, Array]) -> dict[str, Array]:
        """Return the encoder's states, and the mask of its positions."""
        if "input_ids" in encoder:
            mask = encoder.get("encoder_attention_mask")
            result = self.model.module.apply({"params": params}, encoder.pop("input_ids"), mask, method="encode")
            encoder["encoder_hidden_states"] = result.last_hidden_state
        return encoder

    def _empty_cache(self, rows: int, room: int) -> Any:
        """Return a collection whose rows are all filled alike, so that a step writes one slice."""
        cache, filled = self.model.empty_collection(rows, room), self.model.cache_layout.filled
        flat = flatten(cache)
        flat[filled] = jnp.zeros((), jnp.int32)
        return unflatten(flat)

    def _with_room(self, cache: Any) -> Any:
        """Return a collection with room for the new tokens."""
        added = ((0, 0), (0, self.plan.room), (0, 0), (0, 0))
        flat = flatten(cache)
        return unflatten({p: jnp.pad(leaf, added) if p[-1].startswith("cached_") else leaf for p, leaf in flat.items()})

    def _scores(
        self, params: Any, cache: Any, tokens: Array, mask: Array, places: Any, encoder: dict[str, Array]
    ) -> tuple[Array, Any]:
        """Return the next token's logits, and the cache extended by these tokens."""
        scores, changed = self.model.module.apply(
            {"params": params, "cache": cache}, tokens, mask, places, **encoder, method="next_scores", mutable=["cache"]
        )
        return _wide(scores), changed["cache"]

    def _read_all(self, params: Any, state: DecodingState) -> DecodingState:
        """Read all tokens again, where there is no cache."""
        mask = state.mask & (jnp.arange(state.mask.shape[1]) < state.length)
        scores = self.model.module.apply(
            {"params": params}, state.tokens, mask, place=state.length - 1, **state.encoder, method="next_scores"
        )
        return state._replace(logits=_wide(scores))

    def _repeated(self, state: DecodingState) -> DecodingState:
        """Continue from each prompt several times, having computed it once."""
        times = self.plan.rows_per_prompt

        def repeat(leaf: Array) -> Array:
            return jnp.repeat(leaf, times, 0) if leaf.ndim else leaf

        return state if times == 1 else jax.tree.map(repeat, state)


def _at_rows(path: tuple[str, ...], leaf: Array, rows: Array) -> Array:
    """Return a leaf of a cache at these rows; what belongs to a prompt is the same in all of its rows."""
    return jnp.take(leaf, rows, 0) if path[-1].startswith("cached_") else leaf


def _without_states(encoder: dict[str, Array]) -> dict[str, Array]:
    """Return what is left to pass when the encoder's keys are cached."""
    return {name: value for name, value in encoder.items() if name.endswith("mask")}


def _wide(scores: Array) -> Array:
    return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
