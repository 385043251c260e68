"""The model spec: all a user writes about a model, checked as a whole, and the contract it sets for rows."""
