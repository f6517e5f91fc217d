"""The book's claims: those of every study."""

from papers.understanding_ml.studies import STUDIES

CLAIMS = tuple(claim for study in STUDIES.values() for claim in study.claims)
