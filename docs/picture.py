"""Draws docs/outputs.png: one output as notebooks and terminals show it. `python docs/picture.py`.

Needs PyTorch and Chromium (or Chrome) on PATH.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

import torch
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from modeloutputs import ModelOutput
from modeloutputs.torch import BertConfig, BertLMHeadModel

PICTURE = Path(__file__).with_name("outputs.png")
SIZE = (1560, 716)
TERMINAL = TerminalTheme((27, 31, 36), (240, 240, 240), [(240, 240, 240)] * 8)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

CALL = """out = model(**inputs, labels=labels, use_cache=True,
            output_hidden_states=[0, -1], output_attentions=True)
out"""

# With what notebooks say about every table in them, which the output's own style has to stand against.
PAGE = """<!doctype html><meta charset="utf-8"><style>
* {{ box-sizing: border-box; }}
body {{ margin: 0; display: grid; grid-template: 1fr auto / repeat(2, minmax(0, 1fr)); height: {height}px;
  font: 13px/1.5 "Liberation Sans", Arial, sans-serif; }}
section {{ padding: 28px 32px; }}
.light {{ background: #fff; color: rgba(0, 0, 0, .87); }}
.dark {{ background: #111; color: rgba(255, 255, 255, .87); }}
pre {{ margin: 0; font: 12px/1.55 "Liberation Mono", monospace; }}
.input {{ padding: 10px 14px; margin: 0 0 18px; border: 1px solid rgba(128, 128, 128, .35); border-radius: 3px;
  background: rgba(128, 128, 128, .09); }}
.terminal {{ background: #1b1f24; color: #f0f0f0; }}
.rendered table {{ border: none; font-size: 12px; table-layout: fixed; margin: 0 auto 1em; }}
.rendered td, .rendered th, .rendered tr {{ text-align: right; vertical-align: middle; padding: .5em; }}
.rendered tbody tr:nth-child(odd) {{ background: rgba(128, 128, 128, .15); }}
</style>
<section class="light">{light}</section><section class="dark">{dark}</section>
<section class="terminal"><pre>&gt;&gt;&gt; out
{plain}</pre></section>
<section class="terminal"><pre>&gt;&gt;&gt; rich.print(out)
{rich}</pre></section>"""


def main() -> None:
    """Draw the picture, or say what is missing."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on PATH")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(_page(_output()), encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}"]
        subprocess.run([browser, *options, f"--screenshot={PICTURE}", page.as_uri()], check=True, capture_output=True)


def _output() -> ModelOutput:
    """Return what a small BERT says of two sentences; nothing of it depends on its weights but the values."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, is_decoder=True
    )
    model = BertLMHeadModel(config).eval()
    ids = torch.randint(1000, config.vocab_size, (2, 16))
    with torch.inference_mode():
        return model(input_ids=ids, labels=ids, use_cache=True, output_hidden_states=[0, -1], output_attentions=True)


def _page(output: ModelOutput) -> str:
    html = output._repr_html_()
    return PAGE.format(
        light=_cell(_opened(html, "hidden_states")),
        dark=_cell(_opened(html, "past_key_values").replace("<details><summary class", "<details open><summary class")),
        plain=escape(repr(output)),
        rich=_printed(output),
        height=SIZE[1],
    )


def _cell(html: str) -> str:
    return f'<pre class="input">{CALL}</pre><div class="rendered">{html}</div>'


def _opened(html: str, field: str) -> str:
    """Open the entries of one field, as a click does."""
    before, name, after = html.partition(f'<th scope="row">{field}</th>')
    return before + name + after.replace("<details>", "<details open>", 1)


def _printed(output: ModelOutput) -> str:
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(output)
    return console.export_html(theme=TERMINAL, inline_styles=True, code_format="{code}")


if __name__ == "__main__":
    main()
