"""Chat templates: the peer's text and ids, and what a template must not do."""

import sys
from typing import Any

import pytest

from modeloutputs.errors import InputError, MissingDependencyError
from modeloutputs.tokenizers import LlamaTokenizer, PreTrainedTokenizer

from .tiny import BY_NAME, LLAMA3_CONFIG, LLAMA3_TOKENS, load_peer, write_config

pytest.importorskip("jinja2", reason="jinja2 is not installed")

CHATML = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}\n{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TRIMMED = "{%- for m in messages %}\n    {{- m.role + ': ' + m.content | trim + '<|eot_id|>' }}\n{%- endfor %}"
BLOCKS = (
    "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{% generation %}{{ m | tojson }}"
    "{% endgeneration %}{% endfor %}{{ extra }}{{ tools is none }}{{ documents is none }}"
)
REFUSING = "{% if messages[0].role != 'user' %}{{ raise_exception('the user speaks first') }}{% endif %}{{ 1 / 0 }}"
TEMPLATES = {"chatml": CHATML, "trimmed": TRIMMED, "blocks": BLOCKS}
USER: Any = {"role": "user", "content": "Hello <there> é ", "name": None}
ANSWER: Any = {"role": "assistant", "content": " a b  "}


@pytest.fixture(name="pair", scope="module")
def fixture_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = BY_NAME["llama 3"].write(tmp_path_factory.mktemp("chat"))
    named = [{"name": "default", "template": CHATML}, {"name": "short", "template": TRIMMED}]
    write_config(folder, **{**LLAMA3_CONFIG, "chat_template": named, "pad_token": LLAMA3_TOKENS[1]})
    sides: Any = {"padding_side": "right"}
    return LlamaTokenizer.from_pretrained(folder, **sides), load_peer("PreTrainedTokenizerFast", folder, **sides)


@pytest.mark.parametrize("template", [None, "short", *TEMPLATES.values()], ids=["default", "by name", *TEMPLATES])
@pytest.mark.parametrize("chat", [[USER], [USER, ANSWER], [[USER], [USER, ANSWER, USER]]], ids=["one", "two", "batch"])
@pytest.mark.parametrize("prompt", [True, False])
def test_the_text_and_ids_are_the_peers(template: str | None, chat: Any, prompt: bool, pair: tuple[Any, Any]) -> None:
    options: Any = {"chat_template": template, "add_generation_prompt": prompt, "extra": "x"}
    texts = [it.apply_chat_template(chat, tokenize=False, **options) for it in pair]
    assert texts[0] == texts[1]
    encodings = [it.apply_chat_template(chat, padding=True, **options) for it in pair]
    assert dict(encodings[0]) == dict(encodings[1])
    ids = [it.apply_chat_template(chat, return_dict=False, **options) for it in pair]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("template", [CHATML, TRIMMED], ids=["chatml", "trimmed"])
@pytest.mark.parametrize("content", [" a b  ", "a", [{"type": "text", "text": "a "}]], ids=["spaces", "plain", "parts"])
def test_a_final_message_is_continued_as_in_the_peer(template: str, content: Any, pair: tuple[Any, Any]) -> None:
    if isinstance(content, list):
        shown = "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}!{% endif %}"
        template = f"{{% for m in messages %}}{shown}{{% endfor %}}"
    options: Any = {"chat_template": template, "continue_final_message": True, "tokenize": False}
    texts = [it.apply_chat_template([USER, {"role": "assistant", "content": content}], **options) for it in pair]
    assert texts[0] == texts[1]


def test_arrays_and_options_of_a_call(pair: tuple[Any, Any]) -> None:
    chats = [[USER], [USER, ANSWER]]
    encoding = pair[0].apply_chat_template(chats, return_tensors="np", padding=True, truncation=True, max_length=9)
    assert encoding.input_ids.shape == (2, 9)
    assert pair[0].apply_chat_template(
        [USER], tokenizer_kwargs={"return_offsets_mapping": True}
    ).keys() == {"input_ids", "attention_mask", "offset_mapping"}  # fmt: skip


@pytest.mark.parametrize(
    ("chat", "options", "message"),
    [
        ([USER], {"tools": [{}]}, "tools were passed, and chat templates are applied without"),
        ([], {}, "a conversation is []; expected a list of messages with role and content"),
        ("hi", {}, "a conversation is 'hi'; expected a list of messages"),
        ([5], {}, "a conversation is 5; expected a list of messages"),
        ([USER, 5], {}, "a message is 5; expected a mapping with role and content"),
        ([USER], {"add_generation_prompt": True, "continue_final_message": True}, "continue_final_message and add_gen"),
        ([{"role": "user"}], {"continue_final_message": True}, "continue_final_message was asked for, and the last"),
        ([ANSWER], {"chat_template": REFUSING}, "the user speaks first"),
        ([USER], {"chat_template": REFUSING}, "the chat template refuses these messages: division by zero"),
        ([USER], {"chat_template": "{% if %}"}, "the chat template is not valid: "),
        ([USER], {"chat_template": "{{ messages[0].x.y }}"}, "the chat template refuses these messages: 'dict object'"),
        (
            [USER],
            {"chat_template": "x", "continue_final_message": True},
            "continue_final_message was asked for, and the",
        ),
    ],
)
def test_what_cannot_be_rendered_is_refused(chat: Any, options: Any, message: str, pair: tuple[Any, Any]) -> None:
    with pytest.raises(InputError) as caught:
        pair[0].apply_chat_template(chat, tokenize=False, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__.sys }}",
        "{{ messages[0].update(role='x') }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
    ],
)
def test_a_template_stays_in_its_sandbox(attack: str, pair: tuple[Any, Any]) -> None:
    chat = [dict(USER)]
    with pytest.raises(InputError, match="the chat template refuses these messages: "):
        pair[0].apply_chat_template(chat, chat_template=attack, tokenize=False)
    assert chat == [USER]


def test_a_tokenizer_without_a_template_says_so(pair: tuple[Any, Any]) -> None:
    tokenizer = PreTrainedTokenizer(pair[0].backend)
    with pytest.raises(InputError, match="the tokenizer has no chat template; pass chat_template, or set"):
        tokenizer.apply_chat_template([USER])
    tokenizer.chat_template = {"a": "x", "b": "y"}
    with pytest.raises(InputError, match="there is no default among the chat templates; name one of a, b"):
        tokenizer.apply_chat_template([USER])
    assert tokenizer.get_chat_template("b") == "y"


def test_templates_in_files_of_their_own_are_read(tmp_path: Any, pair: tuple[Any, Any]) -> None:
    pair[1].save_pretrained(tmp_path)
    assert (tmp_path / "additional_chat_templates" / "short.jinja").is_file()
    ours = LlamaTokenizer.from_pretrained(tmp_path)
    assert ours.chat_template == pair[1].chat_template == pair[0].chat_template
    ours.save_pretrained(tmp_path / "again")
    assert load_peer("PreTrainedTokenizerFast", tmp_path / "again").chat_template == ours.chat_template


def test_jinja_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, pair: tuple[Any, Any]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "jinja2"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"^chat templates need jinja2; install modeloutputs\[chat\]$"):
        pair[0].apply_chat_template([USER], chat_template="a template not compiled before")


def test_brackets_within_each_other_by_the_thousand_are_refused(pair: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="the chat template is not valid: maximum recursion depth"):
        pair[0].apply_chat_template([USER], chat_template="{{" + "(" * 5000 + "1" + ")" * 5000 + "}}")


def test_a_template_of_a_million_characters_is_refused(pair: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="the chat template has 1000000 characters; expected at most 200000"):
        pair[0].apply_chat_template([USER], chat_template="{{ x }}   " * 100_000)
