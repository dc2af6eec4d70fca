//! Throughput of the kernels on the shapes of a 135M-parameter decoder.
fn main() {}
