"""The plan that a fleet trains: a bundle on disk, or a model of the zoo."""

import importlib

from edge_sdk.errors import Misuse, Unavailable
from edge_sdk.plan import Plan, load_plan
from server_ref.simulate.fleet import Fleet, ModelTable


def plan_of(fleet: Fleet) -> Plan:
    """The plan.

    Raises:
        Misuse: the file is missing, or the model cannot be made.
        Malformed: the bundle is broken.
        Unavailable: a model is to be made, and the `authoring` extra is not installed.
    """
    if fleet.model is not None:
        return _made(fleet.model)
    if fleet.plan is None:
        raise Misuse("give either plan or [model]")
    try:
        return load_plan(fleet.plan.read_bytes())
    except OSError as error:
        raise Misuse(f"{fleet.plan}: {error.strerror}") from None


def _made(model: ModelTable) -> Plan:
    try:
        authoring = importlib.import_module("edge_sdk.authoring")
        zoo = importlib.import_module("edge_sdk.authoring.zoo")
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"[model] needs {error.name}: pip install 'edge-sdk[authoring]', or give a plan"
        ) from None
    forward = zoo.make(
        model.architecture,
        model.input_shape,
        model.classes,
        scale=model.scale,
        mean=model.mean,
        seed=model.seed,
    )
    plan: Plan = authoring.build_plan(
        forward,
        loss=model.loss,
        optimizer=model.optimizer,
        momentum=model.momentum,
        stages=model.stages,
        name=model.architecture,
    )
    return plan
