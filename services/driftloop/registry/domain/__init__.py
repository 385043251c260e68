"""The state machine of the loop: from a state and a fact to the next state and what is said."""
