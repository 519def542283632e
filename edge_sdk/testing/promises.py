"""How a check says which promise was broken."""


def promise(kept: bool, text: str) -> None:
    """Fail with `text` unless `kept`.

    Raises:
        AssertionError: the promise is broken; raised by hand, so `python -O` changes nothing.
    """
    if not kept:
        raise AssertionError(f"broken promise: {text}")
