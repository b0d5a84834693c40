"""Mean-pooled sentence embeddings of a real model, and how similar each pair of sentences is."""

import sys

import torch
from rich.console import Console
from rich.table import Table

from modeloutputs.torch import BertModel, BertTokenizer

SENTENCES = [
    "A man is eating a piece of bread.",
    "Someone is having some food.",
    "The stock market fell sharply today.",
    "Share prices dropped this afternoon.",
    "A cat is sleeping on the sofa.",
]


def embed(folder: str, sentences: list[str]) -> torch.Tensor:
    """Return one unit vector (len(sentences), hidden) per sentence: the mean of its tokens' last states."""
    tokenizer = BertTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder)
    inputs = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state
    mask = inputs.attention_mask.unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1)


def main(folder: str) -> None:
    """Print the table of cosine similarities; sentences that mean the same are alike."""
    embeddings = embed(folder, SENTENCES)
    table = Table("sentence", *(str(i + 1) for i in range(len(SENTENCES))), box=None, header_style="bold")
    for i, row in enumerate((embeddings @ embeddings.T).tolist()):
        cells = [f"[bold green]{x:.2f}[/]" if x > 0.5 and i != j else f"{x:.2f}" for j, x in enumerate(row)]
        table.add_row(f"{i + 1} {SENTENCES[i]}", *cells)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main(sys.argv[1])
