"""Understanding Deep Learning Requires Rethinking Generalization (Zhang, Bengio, Hardt, Recht and Vinyals 2017)."""
