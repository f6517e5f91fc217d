"""The studies by name. Each is a module here, beside the method of the same name one folder up."""

from papers.understanding_ml.studies import (
    backpropagation,
    bayesian_regression,
    boosting,
    clustering,
    generative_models,
    jacobian,
    learning_theory,
    linear_regression,
    logistic_regression,
    matrix_decompositions,
    nearest_neighbours,
    neural_networks,
    numerical_optimisation,
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
    "matrix_decompositions": matrix_decompositions.STUDY,
    "neural_networks": neural_networks.STUDY,
    "jacobian": jacobian.STUDY,
    "backpropagation": backpropagation.STUDY,
    "numerical_optimisation": numerical_optimisation.STUDY,
}
