//! One header line, and what the hop-by-hop fields of a head say.
