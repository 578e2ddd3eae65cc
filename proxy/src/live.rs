//! Plan → live: compiled matchers and handlers, swapped while traffic flows.
