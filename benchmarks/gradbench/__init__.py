"""The twelve problems of GradBench, each as its users would write it: plain loops over numbers."""
