"""Diffusion Models Beat GANs on Image Synthesis (Dhariwal and Nichol, 2021; arXiv 2105.05233)."""
