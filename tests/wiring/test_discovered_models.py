"""Merge of discovered models into the configuration."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, load_text
from gateway.dialects.listed_model import ListedModel
from gateway.wiring.discovered_models import Merged, merged

NAMES = st.lists(st.sampled_from(["a", "b", "c-1", "c-2"]), unique=True)


def config(one: Any, two: Any = False, **sections: Any) -> Config:
    document = {
        "upstreams": {
            "one": {"endpoints": [{"url": "http://127.0.0.1:1"}], "discover_models": one},
            "two": {"endpoints": [{"url": "http://127.0.0.1:2"}], "discover_models": two},
        },
        "models": {"kept": {"upstream": "one"}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["*"]}],
        **sections,
    }
    return load_text(yaml.safe_dump(document))


def merge(made: Config, **lists: list[str]) -> Merged:
    return merged(made, {name: [*map(ListedModel, names)] for name, names in lists.items()})


def test_without_discovery_the_configuration_stays_as_it_is() -> None:
    made = config(False)
    assert merge(made).config is made


def test_a_discovered_model_is_sent_on_by_the_name_that_its_backend_has() -> None:
    found = merge(config({"prefix": "p/"}), one=["m"]).config.models
    assert list(found) == ["kept", "p/m"]
    assert (found["p/m"].upstream, found["p/m"].model) == ("one", "m")


def test_deployments_are_in_the_order_of_the_upstreams_with_their_own_settings() -> None:
    price = {"input": 3, "output": 4}
    settings = {"settings": {"*": {"price": price, "scopes": ["s"]}}}
    other = {"m": {"price": price, "scopes": ["t", "s"]}}
    made = config(settings, {"weight": 3, "priority": 1, "settings": other})
    model = merge(made, two=["m"], one=["m"]).config.models["m"]
    assert [(one.upstream, one.weight, one.priority) for one in model.deployments] == [
        ("one", 1, 0),
        ("two", 3, 1),
    ]
    assert model.scopes == ("s", "t"), "a caller needs those of every upstream"
    assert all(one.price is not None and one.price.input == 3 for one in model.deployments)


def test_fallbacks_and_mirrors_that_nobody_lists_now_are_left_out() -> None:
    models = {"kept": {"upstream": "one", "fallbacks": ["m", "n"], "mirror": {"to": "n"}}}
    made = config(True, models=models)
    kept = merge(made, one=["m"]).config.models["kept"]
    assert kept.fallbacks == ("m",)
    assert kept.mirror is None
    whole = merge(made, one=["m", "n"]).config.models["kept"]
    assert whole == made.models["kept"]


@given(one=NAMES, two=NAMES, only=st.sampled_from([[], ["c-*"], ["a", "c-1"]]))
def test_each_listed_model_is_served_configured_hidden_or_cut(
    one: list[str], two: list[str], only: list[str]
) -> None:
    models = {"kept": {"upstream": "one"}, "b": {"upstream": "one"}}
    made = config({"only": only, "hide": ["*-2"], "most": 2}, True, models=models)
    found = merge(made, one=one, two=two)
    for name, listed in (("one", one), ("two", two)):
        told = found.by_upstream[name]
        assert len(told.served) + len(told.configured) + told.hidden + told.cut == len(listed)
    served = {name for told in found.by_upstream.values() for name in told.served}
    assert served == set(found.discovered) == set(found.config.models) - set(models)
