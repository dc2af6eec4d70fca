//! Preparing models along the plan, calibration, probes, metrics, the clock, and fetching.
