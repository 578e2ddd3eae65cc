//! What arrives: bootstrap, xDS, SDS. Tolerant; keeps the original bytes to print back.
