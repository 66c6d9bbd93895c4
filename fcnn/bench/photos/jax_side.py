"""What fcnn's networks say about photographs: a run's network as it is, and logistic regression on the features of
the pretrained one."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn.augment import normalize
from fcnn.bench.photos.images import RunPhotos, score
from fcnn.bench.photos.job import WEIGHTS, Job
from fcnn.training.linear_probe import FOLDS, INVERSE_STRENGTHS
from fcnn.training.pretrained import load_network
from fcnn.utils.batch import make_batch

BATCH = 64


def evaluate_run(job: Job) -> dict[str, Any]:
    """Returns the `score` of what `fcnn train` left, on its test images."""
    photos = RunPhotos(Path(job.root), Path(job.run))
    test = photos.read("test")
    return score(_outputs(str(Path(job.run) / "model.safetensors"), test.images), test.labels)


def logistic_regression(job: Job) -> dict[str, Any]:
    """Fits scikit-learn's logistic regression, as its documentation would have it: standardized features, C by 5-fold
    cross-validation.

    Returns:
      Its `score`, "strength" (its C) and "seconds" (from the start of the process to the fitted regression).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    photos = RunPhotos(Path(job.root), Path(job.run))
    train = photos.read("train", "validation")
    features = _outputs(WEIGHTS, train.images, "pool")
    grid = {"logisticregression__C": INVERSE_STRENGTHS}
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), grid, cv=FOLDS)
    with threadpool_limits(1, "blas"):  # threads of such small products wait for each other
        search.fit(features, train.labels)
    seconds = time.time() - job.began
    test = photos.read("test")
    logits = search.decision_function(_outputs(WEIGHTS, test.images, "pool"))
    if logits.ndim == 1:  # of two classes: the logit of the second
        logits = np.stack([np.zeros(len(logits)), logits], axis=1)
    strength = search.best_params_["logisticregression__C"]
    return score(logits.astype(np.float32), test.labels) | {"strength": strength, "seconds": seconds}


def _outputs(source: str, images: np.ndarray, endpoint: str | None = None) -> np.ndarray:
    """Returns the logits of a network, or its averaged features at an endpoint, (N, ...) float32."""
    network = load_network(source)
    model = network.info.create()
    change = normalize(np.asarray(network.info.mean, np.float32), np.asarray(network.info.std, np.float32))

    @jax.jit
    def apply(variables: Any, images: jax.Array) -> jax.Array:
        images = change(make_batch(images, np.zeros(len(images), np.int32)))["image"]
        features: Any = (endpoint,) if endpoint else ()
        outputs: Any = model.apply(variables, images, train=False, features=features)
        return outputs[1][endpoint] if endpoint else outputs

    variables, outputs = jax.device_put(dict(network.variables)), []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        padded = np.concatenate([batch, np.zeros((BATCH - len(batch), *batch.shape[1:]), np.uint8)])
        outputs.append(np.asarray(apply(variables, padded))[: len(batch)])
    return np.concatenate(outputs)
