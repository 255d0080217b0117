"""The update rules by family: signature, defaults, ranges and recurrence; computed by the C++ core."""
