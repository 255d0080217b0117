"""The suite of stuck runs: planted faults with known causes, and as many healthy runs, for `us.diagnose`.

The authors of the doctor wrote this suite; it favours it. Thresholds are set on the calibration split only, whose tasks
and seeds are others than those of the test split.
"""
