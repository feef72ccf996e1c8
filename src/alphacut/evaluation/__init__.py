"""How good and how fast: metrics, timings, the self-test, and quantization."""
