"""How a configuration shows itself as a form: Prefect makes one from its JSON schema."""

from typing import Any

from pydantic.fields import ComputedFieldInfo, FieldInfo

BOUNDS = ("minimum", "maximum", "pattern", "minLength", "maxLength")
WORDS = {
    "diff": "difference",
    "finetune": "fine-tune",
    "kwargs": "arguments",
    "lr": "learning rate",
    "macs": "MACs",
    "max": "maximum",
    "mb": "[MiB]",
    "mib": "[MiB]",
    "min": "minimum",
    "ms": "[ms]",
    "num": "number of",
    "opt": "optimal",
    "params": "parameters",
    "speedup": "speed-up",
    "std": "standard deviation",
    "warmup": "warm-up",
}


def title(name: str, _: FieldInfo | ComputedFieldInfo) -> str:
    """A field's name as a label: `warmup_epochs` becomes "Warm-up epochs"."""
    words = " ".join(WORDS.get(word, word) for word in name.split("_"))
    return words[:1].upper() + words[1:]


def complete(schema: dict[str, Any]) -> None:
    """Say in a section's schema what Prefect's pages look for and pydantic leaves out.

    `position`: a database need not keep the order of the fields. `allOf`: the older pages pass on no bounds that stand in the
    field itself, and would find nothing wrong with a value out of them. A null's title: what the button for it says.
    """
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position
        for alternative in field.get("anyOf", ()):
            if alternative.get("type") == "null":
                alternative["title"] = "not set"
        if bounds := {name: field[name] for name in BOUNDS if name in field}:
            field["allOf"] = [bounds]
