"""Random classes and random operations, held against a plain model: an ordered list of names and a plain dict."""

import copy
import dataclasses
import keyword
import pickle
import types
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modeloutputs import FieldAttributeError, FieldIndexError, FieldKeyError, ModelOutput, UsageError

NUMBERS = st.integers(-2, 2) | st.floats(0, 1) | st.booleans()
VALUES = NUMBERS | st.text("ab", max_size=2) | st.lists(st.integers(0, 1), max_size=2)
MAYBE = st.none() | VALUES
FACTORY = object()

TRICKY = st.sampled_from(["self", "cls", "dict", "attributes", "unknown", "name", "value", "type", "field", "output"])
PLAIN = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
NAMES = (TRICKY | PLAIN).filter(lambda name: not hasattr(ModelOutput, name) and not keyword.iskeyword(name))
DEFAULTS = st.sampled_from([dataclasses.MISSING, None, FACTORY]) | st.integers(-1, 1) | st.text("ab", max_size=1)


def define(defaults: dict[str, Any]) -> type[ModelOutput]:
    """Make the output class that has these fields with these defaults; MISSING is a field that states none."""
    body: dict[str, Any] = {"__annotations__": dict.fromkeys(defaults, object), "__module__": __name__}
    for name, default in defaults.items():
        if default is not dataclasses.MISSING:
            body[name] = dataclasses.field(default_factory=list) if default is FACTORY else default
    return types.new_class("Random", (ModelOutput,), exec_body=lambda namespace: namespace.update(body))


class OutputMachine(RuleBasedStateMachine):
    """`output` is what is tested; `declared` and `values` are what it should be."""

    @initialize(
        defaults=st.dictionaries(NAMES, DEFAULTS, min_size=1, max_size=5), decorated=st.booleans(), data=st.data()
    )
    def define_and_build(self, defaults: dict[str, Any], decorated: bool, data: st.DataObject) -> None:
        self.cls = define(defaults)
        if decorated:
            self.cls = dataclasses.dataclass(self.cls)
        globals()["Random"] = self.cls  # where pickle looks for it
        self.declared = list(defaults)
        self.defaults = {name: self.default(default) for name, default in defaults.items()}
        self.build(data)

    @staticmethod
    def default(stated: object) -> object:
        return {dataclasses.MISSING: None, FACTORY: []}.get(stated, stated)

    def any_name(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.declared))

    def any_changes(self, data: st.DataObject) -> dict[str, Any]:
        return data.draw(st.dictionaries(st.sampled_from(self.declared), MAYBE, max_size=4))

    def store(self, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            self.values.pop(name, None)
            if value is not None:
                self.values[name] = value

    @property
    def expected(self) -> list[tuple[str, Any]]:
        return [(name, self.values[name]) for name in self.declared if name in self.values]

    @rule(data=st.data())
    def build(self, data: st.DataObject) -> None:
        given = self.any_changes(data)
        positions = [given.get(name) for name in self.declared]
        ways = [
            lambda: self.cls(**given),
            lambda: self.cls(iter(given.items())),
            lambda: self.cls(given),
            lambda: self.cls(*positions[:1], **{name: given[name] for name in given if name != self.declared[0]}),
        ]
        way = data.draw(st.integers(0, len(ways) - 1))
        if way == 3 and isinstance(positions[0], list):
            way = 0  # a lone list may be a list of pairs
        self.output = ways[way]()
        self.values = {}
        self.store(self.defaults | ({self.declared[0]: None} if way == 3 else {}) | given)

    @rule(data=st.data(), value=MAYBE)
    def set_attribute(self, data: st.DataObject, value: Any) -> None:
        name = self.any_name(data)
        setattr(self.output, name, value)
        self.store({name: value})

    @rule(data=st.data(), value=MAYBE)
    def set_key(self, data: st.DataObject, value: Any) -> None:
        name = self.any_name(data)
        self.output[name] = value
        self.store({name: value})

    @rule(data=st.data())
    def delete_attribute(self, data: st.DataObject) -> None:
        name = self.any_name(data)
        delattr(self.output, name)
        self.store({name: None})

    @rule(data=st.data())
    def delete_key(self, data: st.DataObject) -> None:
        name = self.any_name(data)
        if name not in self.values:
            with pytest.raises(FieldKeyError):
                del self.output[name]
        else:
            del self.output[name]
            self.store({name: None})

    @rule(data=st.data(), default=VALUES)
    def pop(self, data: st.DataObject, default: Any) -> None:
        name = self.any_name(data)
        assert self.output.pop(name, default) == self.values.pop(name, default)

    @rule(data=st.data())
    def pop_without_default(self, data: st.DataObject) -> None:
        name = self.any_name(data)
        if name in self.values:
            assert self.output.pop(name) == self.values.pop(name)
        else:
            with pytest.raises(FieldKeyError):
                self.output.pop(name)

    @rule(data=st.data(), pairs=st.booleans())
    def update(self, data: st.DataObject, pairs: bool) -> None:
        changes = self.any_changes(data)
        self.output.update(changes.items() if pairs else changes)
        self.store(changes)

    @rule(data=st.data(), default=MAYBE)
    def setdefault(self, data: st.DataObject, default: Any) -> None:
        name = self.any_name(data)
        expected = self.values.get(name, default)
        assert self.output.setdefault(name, default) == expected
        self.store({name: expected})

    @rule(data=st.data(), by_dataclasses=st.booleans())
    def replace(self, data: st.DataObject, by_dataclasses: bool) -> None:
        changes = self.any_changes(data)
        before = list(self.output.items())
        old = self.output
        self.output = dataclasses.replace(old, **changes) if by_dataclasses else old.replace(**changes)
        assert list(old.items()) == before
        self.store(changes)

    @rule(way=st.sampled_from([copy.copy, copy.deepcopy, lambda output: output.copy()]))
    def copy(self, way: Any) -> None:
        copied = way(self.output)
        assert copied == self.output
        assert copied is not self.output
        self.output = copied

    @rule(protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
    def pickle(self, protocol: int) -> None:
        self.output = pickle.loads(pickle.dumps(self.output, protocol))

    @rule()
    def rebuild(self) -> None:
        self.output = type(self.output)((name, value) for name, value in self.output.items())
        kept, self.values = self.values, {}
        self.store(self.defaults | kept)

    @precondition(lambda self: len(self.values) > 1)
    @rule()
    def unpack(self) -> None:
        with pytest.raises(UsageError):
            _, *_ = self.output

    @rule(name=NAMES)
    def misspell(self, name: str) -> None:
        if name not in self.declared:
            for write in (self.output.__setitem__, lambda name, value: self.output.update({name: value})):
                with pytest.raises(FieldKeyError):
                    write(name, 1)
            with pytest.raises(FieldAttributeError):
                setattr(self.output, name, 1)

    @invariant()
    def dict_view_agrees(self) -> None:
        assert list(self.output.items()) == self.expected
        assert list(self.output.keys()) == list(self.output) == [name for name, _ in self.expected]
        assert list(self.output.values()) == [value for _, value in self.expected]
        assert self.output.to_dict() == dict(self.output) == dict(self.expected)
        assert len(self.output) == len(self.expected)

    @invariant()
    def key_and_attribute_views_agree(self) -> None:
        for name in self.declared:
            assert getattr(self.output, name) == self.values.get(name)
            assert self.output.get(name) == self.values.get(name)
            assert (name in self.output) == (name in self.values)
        assert vars(self.output).keys() <= set(self.declared)

    @invariant()
    def tuple_view_agrees(self) -> None:
        values = tuple(value for _, value in self.expected)
        assert self.output.to_tuple() == values == self.output[:]
        assert [self.output[i] for i in range(-len(values), len(values))] == [*values, *values]
        with pytest.raises(FieldIndexError):
            self.output[len(values)]

    @invariant()
    def it_is_equal_to_one_built_anew(self) -> None:
        anew = self.cls(**{name: self.values.get(name) for name in self.declared})
        assert self.output == anew
        assert repr(self.output) == repr(anew)


TestOutput = OutputMachine.TestCase
TestOutput.settings = settings(
    max_examples=80, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
