"""The judge's decisions: offline gates from arrays, the live gate from outcomes."""
