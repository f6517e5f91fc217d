"""One package a paper: notes, model, training jobs, figure, claims, entry point."""
