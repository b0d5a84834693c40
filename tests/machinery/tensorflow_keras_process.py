"""A process of its own: `python -m tests.machinery.tensorflow_keras_process TASK...`, KERAS_BACKEND set.

Prints, as JSON, what became of outputs in Keras: in trees, in training, in models that another process wrote.
"""

# ruff: noqa: E402  # the class comes first: that is what is tested

import json
import sys
from pathlib import Path
from typing import Any

from modeloutputs import ModelOutput


class Early(ModelOutput):
    """Defined before Keras is imported, and before any library for trees."""

    logits: Any = None
    hidden_states: Any = None


IMPORTED_BY_US = sorted({"keras", "optree", "torch", "jax", "tensorflow"} & sys.modules.keys())
if "torch-first" in sys.argv:
    import torch.utils._cxx_pytree  # noqa: F401  # to register what it finds, before Keras does

import keras

from .tensorflow_keras import Scored, Scorer, TrainedOnDict, data


class Late(Early):
    """Defined when Keras has been imported."""


def trees() -> dict[str, Any]:
    """Classes in Keras' trees, and in PyTorch's that share a registry with them, whichever was imported first."""
    import optree
    import torch.utils._cxx_pytree as pytree

    class Last(Early):
        """Defined when both have been imported."""

    found: dict[str, Any] = {"imported by us": IMPORTED_BY_US}
    for cls in (Early, Late, Last):
        output = cls(1, (2, None))
        kept = [
            keras.tree.pack_sequence_as(output, keras.tree.flatten(output)) == output,
            pytree.tree_map(lambda leaf: leaf, output) == output,
        ]
        paths = optree.tree_paths(output, none_is_leaf=True, namespace="keras")
        found[cls.__name__] = {"kept": kept, "paths": [list(path) for path in paths]}
    return found


def training() -> dict[str, Any]:
    """What models learn and predict that return all of their states, or one and a placeholder."""
    return {"all": trained((0, 1)), "one": trained((1,))} | {"losses by field": losses_by_field()}


def trained(layers: tuple[int, ...]) -> dict[str, Any]:
    """Train a model for two epochs and let it predict."""
    x, y = data()
    model = TrainedOnDict(layers, output_class())
    model.compile("sgd", loss={"logits": "mse"})
    history = model.fit(x, {"logits": y}, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    evaluated = model.evaluate(x, {"logits": y}, verbose=0)
    return {"losses": history["loss"], "evaluated": evaluated} | predicted(model)


def output_class() -> type[ModelOutput]:
    """An output class of the backend's own framework, where that is JAX; else a user's."""
    if keras.backend.backend() != "jax":
        return Scored
    from modeloutputs.flax import FlaxSequenceClassifierOutput

    return FlaxSequenceClassifierOutput


def losses_by_field() -> list[float]:
    """Train with an output of losses."""
    x, y = data()
    model = Scorer((0, 1), output_class())
    model.compile("sgd", loss=model.output_class(logits="mse"))
    return model.fit(x, {"logits": y}, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]


def predicted(model: Any) -> dict[str, Any]:
    """What a model predicts for batches of different sizes."""
    output = model.predict(data()[0], batch_size=4, verbose=0)
    kind, output = type(output).__name__, Scored(output)
    states = [None if state is None else state.tolist() for state in output.hidden_states or ()]
    return {"type": kind, "logits": output.logits.tolist(), "hidden_states": states}


def files(folder: Path) -> dict[str, Any]:
    """What models in files predict here."""
    models = {path.stem: keras.saving.load_model(path) for path in folder.glob("*.keras")}
    x, y = data()
    sums = models.pop("sum").predict(x, verbose=0).tolist()
    return {
        **{name: predicted(model) for name, model in models.items()},
        "sum": sums,
        "evaluated": models["subclassed"].evaluate(x, {"logits": y}, verbose=0),
    }


def main() -> None:
    """Do what the arguments say: "trees", "training", or a folder of models."""
    results: dict[str, Any] = {"backend": keras.backend.backend()}
    for task in sys.argv[1:]:
        if task == "trees":
            results["trees"] = trees()
        elif task == "training":
            results["training"] = training()
        elif task != "torch-first":
            results["files"] = files(Path(task))
    results["foreign"] = sorted({"transformers", "tf_keras"} & sys.modules.keys())
    sys.stdout.write("\n" + json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
