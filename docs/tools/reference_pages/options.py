"""The options: the dataclasses of segnet/config.py and segnet/verb_config.py."""

import dataclasses
import inspect
from typing import Any

from reference_pages.markdown import option_table

from segnet.cli.help import SCHEMAS


def options_page() -> str:
    parts = [
        "# Options\n",
        "The options of the verbs that take `option=value`: "
        + ", ".join(f"[`segnet {verb}`](#segnet-{verb})" for verb in SCHEMAS)
        + ". The other verbs take flags; see [commands](commands.md).\n",
        "`python train.py --help` prints the same options with their defaults. A misspelled option is refused, and "
        "the nearest right one is named. `name=value` and `--name value` are the same. Write lists without spaces, "
        "in quotes: "
        '`"data.crop_size=[512,512]"`.\n',
        "A section such as `backbone` or `dataset` is a choice: `backbone=resnet50_vd` picks a file of "
        "`conf/backbone/`, and `backbone.multi_grid=[1,2,4]` sets one of its [options](components.md).\n",
    ]
    for verb, schema in SCHEMAS.items():
        parts.append(f"## segnet {verb}\n")
        parts.append(f"{inspect.getdoc(schema)}\n")
        inherited = next((name for name, other in SCHEMAS.items() if other in schema.__mro__[1:]), None)
        own = vars(schema)["__annotations__"]
        fields = [field for field in dataclasses.fields(schema) if not inherited or field.name in own]
        if inherited:
            parts.append(f"All options of [`segnet {inherited}`](#segnet-{inherited}), and:\n")
        sections = [field for field in fields if dataclasses.is_dataclass(field.type)]
        parts.append(option_table(schema, [field for field in fields if field not in sections]))
        for field in sections:
            parts.append(f"### {verb}: `{field.name}.*`\n")
            first = next(name for name, other in SCHEMAS.items() if field.name in field_names(other))
            if first != verb:
                parts.append(f"As for [`segnet {first}`](#{first}-{field.name}).\n")
                continue
            parts.append(f"{inspect.getdoc(field.type)}\n")
            parts.append(option_table(field.type, dataclasses.fields(field.type), f"{field.name}."))
    return "\n".join(parts)


def field_names(schema: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(schema)}
