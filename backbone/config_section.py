"""What all sections of a configuration have in common."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


def _holds_bool(value: Any) -> bool:
    """Return whether a value is true or false, or a list or mapping with one in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, bool) or any(map(_holds_bool, inner))


class Section(BaseModel):
    """Keys with values; unknown keys, and numbers that are not finite, are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any, info: ValidationInfo) -> Any:
        """Refuse `true` and `false` where a number belongs, which Python and pydantic take for 1 and 0."""
        field = cls.model_fields[info.field_name or ""]
        annotation = field.annotation
        is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)  # which has fields of its own
        if not is_section and annotation is not bool and bool not in get_args(annotation) and _holds_bool(given):
            raise ValueError(f"{field.description or 'a value'}, not true or false")
        return given
