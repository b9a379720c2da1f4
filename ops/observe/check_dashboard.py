#!/usr/bin/env python3
"""Checks dashboard.json by the model that Grafana generates from its schema: check_dashboard.py [FILE]

What is read into the model and written again must be what stood in the file: a field that Grafana does not know
is lost on the way. Each value must be of the type that the model says, and panels must not overlap.
"""

import enum
import json
import sys
import typing
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

COLUMNS = 24


def differences(file, model, place=""):
    """Where two values differ."""
    if isinstance(file, dict) and isinstance(model, dict):
        for key in file:
            if key not in model:
                yield f"{place}/{key} is not in the schema"
            else:
                yield from differences(file[key], model[key], f"{place}/{key}")
    elif isinstance(file, list) and isinstance(model, list) and len(file) == len(model):
        for number, (one, other) in enumerate(zip(file, model)):
            yield from differences(one, other, f"{place}/{number}")
    elif file != model:
        yield f"{place}: {file!r} became {model!r}"


def mistyped(value, wanted, place):
    """Where a value is not of the type that it should have."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Union:
        if not any(fits(value, choice) for choice in arguments):
            yield from mistyped(value, next(choice for choice in arguments if choice is not type(None)), place)
        return
    if origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from mistyped(item, arguments[0], f"{place}/{number}")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from mistyped(item, arguments[1], f"{place}/{key}")
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        if value not in [choice.value for choice in wanted]:
            yield f"{place}: {value!r} is not a {wanted.__name__}"
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{place}: {value!r} is none of {arguments}"
    elif isinstance(wanted, type) and not isinstance(value, (int, float) if wanted is float else wanted):
        yield f"{place}: {value!r} is no {wanted.__name__}"
    if hasattr(value, "from_json"):
        hints = typing.get_type_hints(type(value))
        for name, field in vars(value).items():
            yield from mistyped(field, hints.get(name, object), f"{place}/{name}")


def fits(value, wanted):
    """Whether it is of that type."""
    return not list(mistyped(value, wanted, ""))


def misplaced(panels):
    """Panels outside of the grid, or on others."""
    taken = {}
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] + at["w"] > COLUMNS:
            yield f"{panel['title']} lies outside of the grid"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if taken.setdefault(cell, panel["title"]) != panel["title"]:
                yield f"{panel['title']} lies on {taken[cell]}"
                break


def faults(dashboard):
    """Everything that is wrong."""
    model = Dashboard.from_json(dashboard)
    yield from differences(dashboard, json.loads(json.dumps(model, cls=JSONEncoder)))
    yield from mistyped(model, Dashboard, "")
    yield from misplaced(dashboard["panels"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) < len(ids):
        yield "two panels have the same id"
    for panel in model.panels:
        if not isinstance(panel, (Panel, RowPanel)):
            yield f"{panel} is no panel"
        elif isinstance(panel, Panel) and not panel.targets:
            yield f"{panel.title} asks nothing"


if __name__ == "__main__":
    register_default_plugins()
    file = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("dashboard.json"))
    found = list(faults(json.loads(file.read_text())))
    print("\n".join(found) or f"{file.name} is what Grafana's schema asks for")
    sys.exit(1 if found else 0)
