"""bench/kernel-features: the matrix, the claims, and what is made of their figures."""
