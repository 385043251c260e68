"""`driftloop report`: what a model went through, as one HTML file that can be mailed."""
