"""What becomes of the rows and labels of a request: no I/O, no clock."""
