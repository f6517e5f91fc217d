"""Understanding Machine Learning: From Theory to Algorithms (Shalev-Shwartz and Ben-David, 2014)."""
