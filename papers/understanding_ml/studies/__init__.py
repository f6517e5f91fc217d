"""The studies by name. Each is a module here, beside the method of the same name one folder up."""

from papers.understanding_ml.studies import linear_regression
from papers.understanding_ml.study import Study

STUDIES: dict[str, Study] = {
    "linear_regression": linear_regression.STUDY,
}
