"""Chat templates: messages rendered as text by a checkpoint's Jinja template, in a sandbox, and turned into ids."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError, MissingDependencyError, first_line
from .encoding import BatchEncoding
from .framing import Framing

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["ChatTemplates"]

_END = "\ue000END OF THE FINAL MESSAGE\ue000"
"""Stands, with a space, after a message that is to be continued, to find its end in what the template makes of it. The
space is gone where the template trims messages, and then the message has to be trimmed too."""

Message = Mapping[str, Any]


class ChatTemplates(Framing):
    """Rendering of conversations."""

    chat_template: Any

    def apply_chat_template(
        self,
        conversation: Sequence[Message] | Sequence[Sequence[Message]],
        tools: None = None,
        documents: Sequence[Message] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        *,
        padding: Any = False,
        truncation: Any = False,
        max_length: int | None = None,
        return_tensors: Any = None,
        return_dict: bool = True,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Render messages by the checkpoint's chat template, and turn them into ids.

        The template is a program that came with the checkpoint. It runs in Jinja's sandbox, which lets it neither
        change what it is given nor reach Python's internals.

        Args:
            conversation: messages, mappings with "role" and "content"; or a list of conversations.
            tools: not supported, must be None.
            documents: mappings that the template may make use of.
            chat_template: another template, or the name of one of several; by default the tokenizer's own, of several
                the one named "default".
            add_generation_prompt: whether the template is to end with the beginning of an answer.
            continue_final_message: whether the text ends with the last message, for a model to continue it.
            tokenize: whether to return ids; otherwise the text.
            padding, truncation, max_length, return_tensors: as in calling the tokenizer.
            return_dict: whether to return what calling the tokenizer does, or `input_ids` alone.
            tokenizer_kwargs: further options of calling the tokenizer.
            **variables: further variables of the template.

        Returns:
            A BatchEncoding, or its `input_ids`, or text, a list of texts for a list of conversations. The template
            writes the special tokens; none are added around it.

        Raises:
            InputError: there is no template, it refuses the messages, they are no messages, or tools were passed.
            MissingDependencyError: jinja2 is not installed.

        Examples:
            >>> from tokenizers import Tokenizer, models
            >>> from modeloutputs.tokenizers import PreTrainedTokenizer
            >>> template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}"
            >>> backend = Tokenizer(models.WordLevel({"hi": 0}, unk_token="hi"))
            >>> tokenizer = PreTrainedTokenizer(backend, chat_template=template)
            >>> tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
            'user: hi\\n'
        """
        if tools:
            raise InputError(
                "tools were passed, and chat templates are applied without any; describe them in a message"
            )
        if continue_final_message and add_generation_prompt:
            raise InputError("continue_final_message and add_generation_prompt were both asked for; pass one of them")
        chats, single = _conversations(conversation)
        template = _compile(self.get_chat_template(chat_template))
        given = {**self.special_tokens_map, "documents": documents, "tools": None, **variables}
        given["add_generation_prompt"] = add_generation_prompt
        render = _continued if continue_final_message else _render
        texts = [render(template, chat, given) for chat in chats]
        if not tokenize:
            return texts[0] if single else texts
        options = {"padding": padding, "truncation": truncation, "max_length": max_length, **(tokenizer_kwargs or {})}
        encoding = self._encode_chat(
            texts[0] if single else texts, return_tensors=return_tensors, **{"add_special_tokens": False, **options}
        )
        return encoding if return_dict else encoding["input_ids"]

    def _encode_chat(self, text: Any, **options: Any) -> BatchEncoding:
        return self(text, **options)

    def get_chat_template(self, chat_template: str | None = None, tools: None = None) -> str:
        """Return the template of this name, the one that was passed, or the tokenizer's own.

        Raises:
            InputError: the tokenizer has none, or several and none named "default".
        """
        own = self.chat_template
        if isinstance(own, dict):
            named = cast("dict[str, str]", own)
            found = named.get(chat_template or "default", chat_template)
            if found is None:
                raise InputError(
                    f"there is no default among the chat templates; name one of {', '.join(sorted(named))}"
                )
            return found
        template = own if chat_template is None else chat_template
        if template is None:
            raise InputError("the tokenizer has no chat template; pass chat_template, or set tokenizer.chat_template")
        return template


# -- messages -------------------------------------------------------------------------------------------------------


def _conversations(conversation: Any) -> tuple[list[list[dict[str, Any]]], bool]:
    """Return conversations, their messages copied without entries that are None, and whether one was passed."""
    if isinstance(conversation, (str, Mapping)) or not isinstance(conversation, Sequence) or not conversation:
        raise InputError(f"a conversation is {conversation!r:.80}; expected a list of messages with role and content")
    items = cast("Sequence[Any]", conversation)
    single = isinstance(items[0], Mapping)
    chats = [items] if single else items
    return [[_message(message) for message in _as_chat(chat)] for chat in chats], single


def _as_chat(chat: Any) -> Sequence[Any]:
    if isinstance(chat, (str, Mapping)) or not isinstance(chat, Sequence):
        raise InputError(f"a conversation is {chat!r:.80}; expected a list of messages with role and content")
    return cast("Sequence[Any]", chat)


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InputError(f"a message is {message!r:.80}; expected a mapping with role and content")
    entries = cast("Mapping[str, Any]", message)
    return {name: value for name, value in entries.items() if value is not None}


# -- rendering ------------------------------------------------------------------------------------------------------


def _render(template: "Template", chat: list[dict[str, Any]], given: Mapping[str, Any]) -> str:
    try:
        return template.render(messages=chat, **given)
    except Exception as error:  # noqa: BLE001  # a template's expressions raise whatever Python's do
        raise InputError(f"the chat template refuses these messages: {first_line(error)}") from None


def _continued(template: "Template", chat: list[dict[str, Any]], given: Mapping[str, Any]) -> str:
    """Render a conversation up to the end of its last message's text."""
    marked = [*chat[:-1], dict(chat[-1])]
    content: Any = marked[-1].get("content")
    if isinstance(content, list):
        parts: list[Any] = [_copied(part) for part in cast("list[Any]", content)]
        texts: list[dict[str, Any]] = [it for it in parts if isinstance(it, dict) and isinstance(it.get("text"), str)]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not texts:
            raise InputError("continue_final_message was asked for, and the last message has no text to continue")
        texts[-1]["text"] += f"{_END} "
        marked[-1]["content"] = parts
    elif isinstance(content, str):
        marked[-1]["content"] = f"{content}{_END} "
    else:
        raise InputError("continue_final_message was asked for, and the last message has no content to continue")
    rendered = _render(template, marked, given)
    before, mark, after = rendered.rpartition(_END)
    if not mark:
        raise InputError("continue_final_message was asked for, and the chat template leaves out the last message")
    return before if after.startswith(" ") else before.rstrip()


def _copied(part: Any) -> Any:
    return dict(cast("dict[str, Any]", part)) if isinstance(part, dict) else part


# -- templates ------------------------------------------------------------------------------------------------------


LONGEST_TEMPLATE = 200_000
"""Characters; those in use have some thousands, and a million keeps jinja2 busy for a minute."""


@lru_cache(maxsize=32)
def _compile(template: str) -> "Template":
    """Compile a template as the peer does: blocks take their lines along, and have `break`, `continue`, `generation`.

    Raises:
        InputError: it is no Jinja template, or longer than any is.
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        from jinja2.exceptions import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingDependencyError("chat templates need jinja2; install modeloutputs[chat]") from None
    if len(template) > LONGEST_TEMPLATE:
        raise InputError(f"the chat template has {len(template)} characters; expected at most {LONGEST_TEMPLATE}")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_blocks(), loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    helpers: dict[str, Callable[..., Any]] = {"raise_exception": _refuse, "strftime_now": _time_now}
    environment.globals.update(helpers)  # pyright: ignore[reportUnknownMemberType]
    try:
        return environment.from_string(template)
    except (TemplateError, RecursionError) as error:  # blocks or brackets within each other by the hundred
        raise InputError(f"the chat template is not valid: {first_line(error)}") from None


def _generation_blocks() -> Any:
    """Return an extension that reads `{% generation %}` around what the model says, and leaves it as it is."""
    from jinja2.ext import Extension

    class GenerationBlocks(Extension):
        tags = {"generation"}  # noqa: RUF012  # the base says that it is a class variable

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return GenerationBlocks


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False, **options: Any) -> str:
    # Jinja's own escapes what HTML has a meaning for
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise InputError(message)


def _time_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
