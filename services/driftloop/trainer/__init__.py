"""Training: a range of the outcomes log in, a candidate in the artifact store out."""
