"""GPT's tokenizer: what is its own. That it gives the peer's numbers is tested with all kinds."""

from pathlib import Path

import pytest

from modeloutputs.tokenizers import OpenAIGPTTokenizer

every_source = pytest.mark.parametrize("source", ["gpt files", "gpt json"])


@every_source
def test_words_are_lower_case_and_their_ends_are_marked(source: str, folders: dict[str, Path]) -> None:
    tokenizer = OpenAIGPTTokenizer.from_pretrained(folders[source])
    encoding = tokenizer("Hello WORLD!")
    pieces = [token for token in encoding.tokens() if token.endswith("</w>")]
    assert len(pieces) == 3
    assert "".join(encoding.tokens()) == "hello</w>world</w>!</w>"
    assert tokenizer.decode(encoding.input_ids) == "hello world !"
    assert list(encoding) == ["input_ids", "attention_mask"]


@every_source
def test_characters_that_it_lacks_are_unknown(source: str, folders: dict[str, Path]) -> None:
    tokenizer = OpenAIGPTTokenizer.from_pretrained(folders[source])
    assert tokenizer.special_tokens_map == {"unk_token": "<unk>"}
    assert tokenizer.tokenize("\u2603\u2603") == ["<unk>", "<unk>"]
    assert tokenizer.convert_tokens_to_ids(["<unk>", "no such"]) == [0, 0]
