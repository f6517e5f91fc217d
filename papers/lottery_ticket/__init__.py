"""The Lottery Ticket Hypothesis (Frankle and Carbin, 2019; arXiv 1803.03635)."""
