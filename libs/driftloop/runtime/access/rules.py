"""What a route asks of a token; a route without a rule keeps its service from starting."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from driftloop.contracts.tokens import Scope


class Rule(NamedTuple):
    """The scopes, one of which is enough (none: open to all), and the models a token must cover.

    `one`: the model in the path. `any`: whatever it covers; the route shows no more than that.
    `all`: every model, since the route tells of all.
    """

    scopes: frozenset[Scope]
    models: Literal["one", "any", "all"]


Rules = Mapping[str, Rule]
"""By method and path as in `GET /v1/models/{model}`; by the path and `/*` for a mounted app."""

OPEN: Final = Rule(frozenset(), "any")
"""For everybody: health, and pages that hold no data."""


def of_model(*scopes: Scope) -> Rule:
    """One of the scopes, for the model in the path."""
    return Rule(frozenset(scopes), "one")


def anywhere(*scopes: Scope) -> Rule:
    """One of the scopes, whatever models they are for."""
    return Rule(frozenset(scopes), "any")


def everywhere(*scopes: Scope) -> Rule:
    """One of the scopes, for all models."""
    return Rule(frozenset(scopes), "all")


def ruled(app: Starlette, rules: Rules) -> list[tuple[BaseRoute, dict[str, Rule]]]:
    """The routes of an app, each with its rule by method (empty: any method).

    Raises `ValueError` naming a route without a rule, and a rule without a route.
    """
    unused = set(rules)
    found: list[tuple[BaseRoute, dict[str, Rule]]] = []
    for route in app.routes:
        by_method: dict[str, Rule] = {}
        for method, key in _keys(route):
            if key not in rules:
                raise ValueError(f"{key}: has no rule; accepted: an entry in the rules of its app")
            unused.discard(key)
            by_method[method] = rules[key]
            if rules[key].models == "one" and "{model}" not in key:
                raise ValueError(f"{key}: its rule is for the model in the path, which has none")
        found.append((route, by_method))
    if unused:
        raise ValueError(f"{sorted(unused)[0]}: has a rule, but there is no such route")
    return found


def _keys(route: BaseRoute) -> Iterator[tuple[str, str]]:
    if isinstance(route, Mount):
        yield "", f"{route.path}/*"
    elif isinstance(route, Route):
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, f"{method} {route.path}"
    else:
        raise ValueError(f"{route!r}: is a route of a kind that rules do not know")
