"""Sentences for the operator's terminal. Pure."""

from edge_sdk.values.summaries import RoundSummary, RunSummary

FALL = 0.2
"""An accuracy this much below the best so far is no noise."""


def round_line(one: RoundSummary) -> str:
    """One line about a round that is over."""
    updates = one.committed + one.partial
    words = [
        f"{updates} update{'' if updates == 1 else 's'}"
        + (f" ({one.partial} unfinished)" if one.partial else ""),
        f"{_bytes(one.bytes_up)} up",
        f"{_bytes(one.bytes_down)} down",
    ]
    if one.accuracy is not None:
        words.append(f"accuracy {one.accuracy:.3f}")
    elif one.loss is not None:
        words.append(f"loss {one.loss:.4g}")
    ending = " abandoned" if one.state == "abandoned" else ""
    if one.stage or one.warm_up:
        ending = f", stage {one.stage}{' warming up' if one.warm_up else ''}{ending}"
    return f"round {one.round}{ending}: {', '.join(words)}, {one.seconds:.1f} s"


def finished_line(run: RunSummary) -> str:
    """The last line of a run."""
    made = [one for one in run.rounds if one.state == "published"]
    quality = ""
    if made and made[-1].accuracy is not None:
        quality = f"accuracy {made[-1].accuracy:.3f} "
    elif made and made[-1].loss is not None:
        quality = f"loss {made[-1].loss:.4g} "
    return f"finished: {quality}after {run.model_version} versions"


def fall_line(now: RoundSummary, before: list[RoundSummary]) -> str | None:
    """A warning when a round's version is far worse than the best before it; None when it is not.

    Only rounds of the same stage compare: a model that has just grown has a fresh head.

    Far is an accuracy lower by `FALL` or, where there are no classes, more than twice the loss and
    one.
    """
    before = [one for one in before if one.stage == now.stage]
    accuracies = [one.accuracy for one in before if one.accuracy is not None]
    losses = [one.loss for one in before if one.loss is not None]
    if now.accuracy is not None and accuracies:
        best = max(accuracies)
        fell, figures = now.accuracy < best - FALL, f"accuracy {now.accuracy:.3f}, best {best:.3f}"
    elif now.loss is not None and losses:
        best = min(losses)
        fell, figures = now.loss > 2 * best + 1, f"loss {now.loss:.4g}, best {best:.4g}"
    else:
        return None
    if not fell:
        return None
    return (
        f"WARNING: the model got much worse (round {now.round}: {figures}); "
        "try a smaller --lr, more bits (--codec) or a larger --cohort"
    )


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
