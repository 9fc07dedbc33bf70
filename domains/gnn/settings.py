"""The ``domain`` section of a configuration for graphs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from nichenas.domains.gnn.space import Operations
from nichenas.domains.gnn.training import TrainSettings

CHOSEN_BY_WIDE = ("learning_rate", "weight_decay", "dropout", "layers", "batch_norm", "skip")
OF_AGNN = (*CHOSEN_BY_WIDE, "operations")  # that have no effect with the wide space
Baseline = Literal["GCN", "GAT", "GraphSAGE", "APPNP", "GPRGNN", "GCNII", "GRAND", "GRAND, 2 steps"]


class GNNSettings(TrainSettings):
    """The section, beside the training settings.

    Attributes:
        dataset: a name of :data:`~nichenas.domains.gnn.data.KNOWN`, a graph of one's own as a file or folder, or the
            dotted name of a PyG ``InMemoryDataset``; see :func:`~nichenas.domains.gnn.data.load_task`.
        dataset_options: further arguments of that class, or of that graph.
        space: ``wide``, what the strongest hand-made networks use, and how they are trained; or ``agnn``, as published.
        layers: depth of AGNN's networks; 2 for citation graphs, 3 for PPI.
        operations: of AGNN's networks: ``published``; or ``repaired``, which deviates from the paper where its
            aggregations and its combiner do not train (see :mod:`nichenas.domains.gnn.model`).
        metric: of the score: ``accuracy``, ``roc_auc`` (of two classes), ``micro_f1`` (of several labels a node); by
            default what the labels say.
        objectives: ``score`` is the metric.
        criterion: that candidates are ranked by: ``score``, or ``calibrated_brier``, which distinguishes more of them
            by the same validation nodes; see :mod:`~nichenas.core.training.calibration`. A ROC-AUC ranks by itself.
        normalize: scale the features of every node to sum 1; by default for citation graphs only.
        search_splits: how many of the splits a candidate is trained on, where the data have several, each with an epoch
            of its own that counts; its figures are means over them, and its epochs those of the longest. Final
            trainings take all splits in turn. Where test nodes of one split are validation nodes of another, final
            figures are therefore not free of what the search has seen, whether it uses one split or several: this
            is how settings of benchmarks with ten splits are usually chosen.
        batch_norm: normalise after hidden layers of AGNN's networks.
        skip: linear skip connections around them.
        warm_epochs: epochs of a candidate that inherits the weight of its first layer, among others (AGNN's warm-up;
            its lengths are not known for certain, 20 is what is recalled for citation graphs).
        baselines: well-known networks that are trained beside what is found, by their names in the wide space.
        pyg_baselines: train them with PyG's own layers, which compute the same and take long; GRAND, whose training is
            its own, stays a network of the space.
    """

    dataset: str
    dataset_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    space: Literal["agnn", "wide"] = "agnn"
    layers: int = Field(2, ge=1, le=8)
    operations: Operations = "published"
    metric: Literal["accuracy", "roc_auc", "micro_f1"] | None = None
    objectives: tuple[Literal["score", "parameters"], ...] = ("score",)
    criterion: Literal["score", "calibrated_brier"] = "score"
    normalize: bool | None = None
    search_splits: int = Field(1, ge=1)
    batch_norm: bool = False
    skip: bool = False
    warm_epochs: int = Field(20, ge=1)
    baselines: tuple[Baseline, ...] = ("GCN", "GAT", "GraphSAGE", "APPNP", "GPRGNN", "GCNII", "GRAND")
    pyg_baselines: bool = False

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> GNNSettings:
        for name in OF_AGNN if self.space == "wide" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                why = "where it is searched; see search.restrict" if name in CHOSEN_BY_WIDE else "but with space: agnn"
                raise ValueError(f"{name} has no effect with space: wide, {why}")
        return self

    @field_validator("baselines")
    @classmethod
    def _each_baseline_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("must name no baseline twice")
        return value

    @field_validator("objectives")
    @classmethod
    def _score_comes_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or value[0] != "score" or len(set(value)) != len(value):
            raise ValueError("must begin with 'score' and name nothing twice")
        return value
