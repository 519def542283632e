"""Write the scikit-learn models in tests/edge_sdk/authoring/exported, as skl2onnx leaves them.

    python scripts/make_sklearn_models.py

Needs scikit-learn and skl2onnx, which the project itself never does.
"""

import warnings
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent.parent / "tests/edge_sdk/authoring/exported"
RNG = np.random.default_rng(0)


def main() -> None:
    """Fit each for a moment and write it."""
    warnings.simplefilter("ignore")
    x = RNG.normal(size=(60, 4)).astype(np.float32)
    labels = RNG.integers(0, 3, 60)
    size = {"hidden_layer_sizes": (5,), "max_iter": 20, "random_state": 0}
    models = {
        "mlp_classifier": (MLPClassifier(**size), labels),
        "scaled_mlp_classifier": (make_pipeline(StandardScaler(), MLPClassifier(**size)), labels),
        "mlp_regressor": (MLPRegressor(**size), x[:, 0]),
    }
    for name, (model, target) in models.items():
        options = {"zipmap": False} if "classifier" in name else None
        made = to_onnx(model.fit(x, target), x[:1], target_opset=18, options=options)
        (HERE / f"sklearn_{name}_18.onnx").write_bytes(made.SerializeToString())


if __name__ == "__main__":
    main()
