"""The fleets that `benchmarks.adapt` measures policies on, as data.

A tenth are Jetsons on Ethernet, six tenths Raspberry Pi 4 on 5 Mbit/s Wi-Fi, three tenths small
boards on a cellular link of 250 kbit/s with 5% of packets lost and a battery.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from server_ref.simulate.fleet import Fleet, checked_fleet

RATES = ("0.1", "0.25", "0.5", "1", "2", "4", "8")
"""Bits for each parameter that the server takes, in the codec `blockwise`."""

FIXED = ("1", "2", "4", "8")

BUDGET = "budget"


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """A task on the mixed fleet."""

    name: str
    file: str
    devices: int
    least_examples: int
    cohort: int
    deadline_s: float
    learning_rate: float
    batch_size: int
    epochs: int
    rounds: int
    target: float
    model: Mapping[str, object]
    examples_per_s: tuple[float, float, float]
    """Of Jetson, Pi and the small board, training the whole model."""


SCENES: Mapping[str, Scene] = MappingProxyType(
    {
        "sensors": Scene(
            name="sensors",
            file="hapt_phone_har.npz",
            devices=21,
            least_examples=100,
            cohort=10,
            deadline_s=8.0,
            learning_rate=0.02,
            batch_size=32,
            epochs=1,
            rounds=40,
            target=0.86,
            model={
                "architecture": "cnn1d",
                "input_shape": [6, 128],
                "classes": 6,
                "scale": 1 / 700,
            },
            examples_per_s=(2000.0, 400.0, 80.0),
        ),
        "writers": Scene(
            name="writers",
            file="mnist_writers.npz",
            devices=60,
            least_examples=80,
            cohort=12,
            deadline_s=24.0,
            learning_rate=0.04,
            batch_size=16,
            epochs=1,
            rounds=40,
            target=0.93,
            model={"architecture": "cnn", "input_shape": [1, 28, 28], "classes": 10},
            examples_per_s=(600.0, 120.0, 25.0),
        ),
    }
)


def mixed_fleet(
    scene: Scene, policy: str, *, data_dir: Path, seed: int, rounds: int | None = None
) -> Fleet:
    """The mixed fleet under `budget` or a fixed number of bits."""
    return checked_fleet(
        {
            "seed": seed,
            "rounds": rounds or scene.rounds,
            "devices": scene.devices,
            "target_accuracy": scene.target,
            "longest_s": 3 * 86_400.0,
            "model": scene.model,
            "data": {
                "file": data_dir / scene.file,
                "least_examples": scene.least_examples,
                "test_examples": 2000,
            },
            "server": server_table(scene),
            "group": groups(scene, policy_table(policy)),
        }
    )


def server_table(scene: Scene) -> dict[str, object]:
    """What the server asks, whatever the policy."""
    return {
        "cohort": scene.cohort,
        "min_updates": max(1, scene.cohort // 3),
        "round_deadline_s": scene.deadline_s,
        "learning_rate": scene.learning_rate,
        "batch_size": scene.batch_size,
        "epochs": scene.epochs,
        "downlink_codec": "float16",
        "codecs": tuple(codec(rate) for rate in RATES),
        "pace_s": 2.0,
    }


def codec(rate: str) -> str:
    """The spec for so many bits."""
    return f"blockwise:rate={rate}"


def policy_table(policy: str) -> dict[str, object]:
    """`budget`, or fixed to a rate."""
    return {"kind": BUDGET} if policy == BUDGET else {"kind": "fixed", "codec": codec(policy)}


def groups(scene: Scene, policy: Mapping[str, object]) -> list[dict[str, object]]:
    """The three kinds of device."""
    jetson, pi, small = scene.examples_per_s
    return [
        {
            "name": "jetson",
            "share": 0.1,
            "board": "jetson",
            "examples_per_s": jetson,
            "link": {"up_kbit_s": 100_000, "delay_ms": 2, "radio": "ethernet"},
            "policy": policy,
        },
        {
            "name": "pi",
            "share": 0.6,
            "board": "raspberry-pi-4",
            "examples_per_s": pi,
            "link": {"up_kbit_s": 5000, "delay_ms": 20, "radio": "wifi"},
            "policy": policy,
            "vary": 0.2,
        },
        {
            "name": "remote",
            "share": 0.3,
            "board": "raspberry-pi-zero-2",
            "examples_per_s": small,
            "link": {"up_kbit_s": 250, "delay_ms": 100, "loss": 0.05, "radio": "cellular"},
            "battery": {"capacity_wh": 10, "charge": 0.8},
            "policy": policy,
            "vary": 0.2,
        },
    ]


def degrading_fleet(policy: str, *, data_dir: Path, seed: int, from_s: float, to_s: float) -> Fleet:
    """Two persons on sensor links whose way up becomes ten times worse for a while.

    The model has 99,206 parameters: 20 kbit/s up carry a quarter of a bit for each in 1.2 s; 2
    kbit/s take 12 s for it, and 5 s for a tenth of a bit.
    """
    scene = SCENES["sensors"]
    return checked_fleet(
        {
            "seed": seed,
            "rounds": 1000,
            "longest_s": 2 * to_s - from_s,
            "model": {"architecture": "mlp", "input_shape": [768], "classes": 6, "scale": 1 / 700},
            "data": {
                "file": data_dir / scene.file,
                "least_examples": scene.least_examples,
                "test_examples": 200,
            },
            "server": server_table(scene)
            | {"cohort": 2, "min_updates": 1, "round_deadline_s": 20.0},
            "group": [
                {
                    "name": "pi",
                    "count": 2,
                    "examples_per_s": 400.0,
                    "link": {
                        "up_kbit_s": 20,
                        "down_kbit_s": 5000,
                        "delay_ms": 40,
                        "radio": "wifi",
                        "trace": [[from_s, 0.1], [to_s, 1.0]],
                        "trace_ways": ["up"],
                    },
                    "policy": policy_table(policy),
                }
            ],
        }
    )
