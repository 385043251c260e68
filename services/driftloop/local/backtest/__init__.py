"""`driftloop backtest`: the loop over a labelled file, with neither a bus nor a clock."""
