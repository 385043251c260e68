"""Many models in one deployment: start-up, idle cost, exactness of all rows, and fairness."""
