"""Names of options: those that generate has, those of the peer's that it lacks and why, those that change no token."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from .settings import GenerationSettings

__all__ = ["KNOWN_NAMES", "REFUSED", "SETTINGS"]

_SAMPLING = "pass num_return_sequences with do_sample=True or num_beams for several sequences"
_STOP = "pass stopping_criteria, a function of tokens and scores"
_PROCESSOR = "pass logits_processor, a function of tokens and scores"

REFUSED: Mapping[str, tuple[Any, str]] = {
    "num_beam_groups": (1, f"groups of beams are not searched; {_SAMPLING}"),
    "diversity_penalty": (0.0, f"groups of beams are not searched; {_SAMPLING}"),
    "constraints": (None, "beams are not constrained; pass prefix_allowed_tokens_fn"),
    "force_words_ids": (None, "beams are not constrained; pass prefix_allowed_tokens_fn"),
    "penalty_alpha": (0.0, "contrastive search is not built; pass top_k with do_sample=True, or repetition_penalty"),
    "assistant_model": (None, "nothing is drafted; leave it out for the same tokens, only slower"),
    "prompt_lookup_num_tokens": (None, "nothing is drafted; leave it out for the same tokens, only slower"),
    "dola_layers": (None, f"layers are not contrasted; {_PROCESSOR}"),
    "guidance_scale": (1.0, f"there is no guidance; {_PROCESSOR}"),
    "negative_prompt_ids": (None, f"there is no guidance; {_PROCESSOR}"),
    "watermarking_config": (None, f"texts are not watermarked; {_PROCESSOR}"),
    "sequence_bias": (None, f"sequences are not biased; pass bad_words_ids for those not to come, or {_PROCESSOR[5:]}"),
    "encoder_repetition_penalty": (1.0, f"only repetition of generated tokens is penalised; {_PROCESSOR}"),
    "exponential_decay_length_penalty": (None, f"the end does not become likelier; {_PROCESSOR}"),
    "renormalize_logits": (False, f"scores are not normalised again; {_PROCESSOR}"),
    "remove_invalid_values": (False, f"scores are not repaired; {_PROCESSOR}"),
    "top_h": (None, f"there is no such filter; pass top_p or min_p, or {_PROCESSOR[5:]}"),
    "token_healing": (False, "prompts are taken as they are; leave out a prompt's last token"),
    "custom_generate": (None, "other code is not loaded; call the model in a loop of your own"),
    "output_logits": (False, "pass output_scores=True for the scores that tokens were chosen by"),
    "max_time": (None, f"time is not watched; {_STOP}"),
    "seed": (None, "pass generator, as torch.Generator().manual_seed(seed) is one"),
}
"""Options of the peer's `generate` that change what is generated and are not built: the value that is off, and why."""

WITHOUT_EFFECT = frozenset(
    {
        *("cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile", "low_memory"),
        *("prefill_chunk_size", "continuous_batching_config", "use_mtp", "synced_gpus", "trust_remote_code"),
        *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
        *("assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight"),
        *("max_matching_ngram_size", "speculation_type", "transformers_version", "_from_model_config"),
    }
)
"""Options of the peer's that decide how it computes, not what; they are let through."""

SETTINGS: Mapping[str, Any] = {entry.name: entry.default for entry in dataclasses.fields(GenerationSettings)}
"""The settings that generate has, with their defaults."""
KNOWN_NAMES = frozenset({*SETTINGS, *REFUSED, *WITHOUT_EFFECT})
