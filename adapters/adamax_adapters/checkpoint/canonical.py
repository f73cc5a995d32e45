"""JSON in its one spelling: equal content gives equal text, and no other text is read."""

import json
from typing import Any

__all__ = ["canonical", "has_form", "plain", "read_canonical"]


def plain(value: Any) -> Any:
    """Return `value` as it is read back from JSON: with lists for tuples, and keys that are text.

    Raises
    ------
    TypeError, ValueError
        If it holds something that JSON does not: NaN, infinity, an array.
    """
    return json.loads(json.dumps(value, allow_nan=False))


def canonical(value: Any) -> str:
    """Return `value`, which is plain, as text: ASCII, sorted keys, no spaces, fewest digits."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_canonical(text: str) -> Any:
    """Return what `canonical` wrote; ValueError if it could not have written this text."""
    try:
        value = json.loads(text)
        if canonical(value) != text:
            raise ValueError("it is not in its canonical spelling")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def has_form(value: Any, form: Any) -> bool:
    """Say whether `value` is built as `form` is.

    Parameters
    ----------
    value : what JSON can hold
    form : type, or dict of forms, or list of one form
        A type stands for values of that type alone, a dict for one with the same keys, a list for
        any number of its element.

    Examples
    --------
    >>> has_form({"shape": [2, 3]}, {"shape": [int]})
    True
    >>> has_form({"shape": [2, True]}, {"shape": [int]})
    False
    """
    if isinstance(form, dict):
        return (
            isinstance(value, dict)
            and value.keys() == form.keys()
            and all(has_form(value[key], form[key]) for key in form)
        )
    if isinstance(form, list):
        return isinstance(value, list) and all(has_form(item, form[0]) for item in value)
    return type(value) is form
