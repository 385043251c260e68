"""The keeper: the only one that moves a model between stages or asks for a retrain."""
