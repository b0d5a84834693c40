"""The first example of the page this library implements; only its import line is changed."""

from modeloutputs.torch import BertTokenizer, BertForSequenceClassification  # isort: skip
import torch

tokenizer = BertTokenizer.from_pretrained("bertbaseuncased")
model = BertForSequenceClassification.from_pretrained("bertbaseuncased")

inputs = tokenizer("Hello, my dog is cute", return_tensors="pt")
labels = torch.tensor([1]).unsqueeze(0)  # Batch size 1
outputs = model(**inputs, labels=labels)

print(outputs)
print("outputs.loss:", outputs.loss)
print("outputs.attentions:", outputs.attentions)
print("outputs[:2]:", outputs[:2])
print("list(outputs):", list(outputs))
