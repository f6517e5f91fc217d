"""The studies by name. Each is a module here, beside the method of the same name one folder up."""

from papers.understanding_ml.studies import (
    bayesian_regression,
    boosting,
    clustering,
    generative_models,
    learning_theory,
    linear_regression,
    logistic_regression,
    nearest_neighbours,
    pca,
    svm,
    trees,
)
from papers.understanding_ml.study import Study

STUDIES: dict[str, Study] = {
    "linear_regression": linear_regression.STUDY,
    "bayesian_regression": bayesian_regression.STUDY,
    "logistic_regression": logistic_regression.STUDY,
    "pca": pca.STUDY,
    "svm": svm.STUDY,
    "trees": trees.STUDY,
    "boosting": boosting.STUDY,
    "nearest_neighbours": nearest_neighbours.STUDY,
    "clustering": clustering.STUDY,
    "generative_models": generative_models.STUDY,
    "learning_theory": learning_theory.STUDY,
}
