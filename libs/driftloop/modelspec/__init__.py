"""The model spec: all a user writes about a model, and the contract it sets for rows."""
