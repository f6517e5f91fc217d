"""Deep Residual Learning for Image Recognition (He, Zhang, Ren and Sun 2016)."""
