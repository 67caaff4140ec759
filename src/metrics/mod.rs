//! Every metric of the process: one table, per-worker counters behind it.
